# SPDX-License-Identifier: MIT
"""Files of unknown origin, read as data: the trust boundary.

``archive``, ``pickles``, ``checkpoint`` and ``safetensors_checkpoint`` read bytes and run none of
them; ``backbone_config``, ``task_config``, ``weight_names`` and ``validity`` say what a checkpoint
may hold; ``metadata``, ``exported`` and ``scripted_code`` do the same for exported models.
``structures`` reads structure files, ``whole_file`` writes whatever is written, ``arguments``
takes the names of files from a command line.
"""
