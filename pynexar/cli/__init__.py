"""The command `nexar`.  Nothing here imports numpy before it is needed: starting ranks must be quick."""
