"""What is wrong with a configuration, part by part; `config/validate.py` asks them all."""
