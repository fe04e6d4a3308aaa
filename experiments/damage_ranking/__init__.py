"""Which quantity ranks candidate truncations as the damage that they do?"""
