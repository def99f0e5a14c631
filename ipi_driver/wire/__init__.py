# SPDX-License-Identifier: MIT
"""The conversation with i-PI, whatever the potential; nothing here needs torch.

``protocol`` knows the bytes and ``shared_memory`` the segments, ``sockets`` the connections,
``driver`` the order of messages and ``pacing`` when to ask for the next one. ``ffmpi`` is the
same over MPI, ``direct`` by calls. ``address`` says where i-PI is, and serves a potential there.
"""
