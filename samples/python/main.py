"""The cart and the leaderboard, in one function."""

import firn
from cart import cart
from leaderboard import leaderboard

function = firn.Function("samples", cart, leaderboard, version="1.0.0")

if __name__ == "__main__":
    function.run()
