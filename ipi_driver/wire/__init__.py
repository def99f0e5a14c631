"""The conversation with i-PI, whatever the potential; nothing here needs torch.

``protocol`` knows the bytes and ``shared_memory`` the segments, ``sockets`` the connections,
``driver`` the order of messages and ``pacing`` its rests, ``ffmpi`` the same over MPI,
``direct`` without a connection. ``address`` says where i-PI is.
"""
