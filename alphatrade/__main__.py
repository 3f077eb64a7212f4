"""``python -m alphatrade``: the same front door as the console command."""

from alphatrade.nodes.app import command

if __name__ == "__main__":
    command()
