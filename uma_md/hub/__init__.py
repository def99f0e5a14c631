# SPDX-License-Identifier: MIT
"""Published models on the Hugging Face hub.

``catalog`` knows which there are, ``download`` brings them, ``answers`` explains what went wrong.
"""
