"""What `stages/train.py` is made of: loss, budget, checkpoints, the processes of a distributed training."""
