"""What a search costs on TPUs and GPUs, predicted from compiled programs."""
