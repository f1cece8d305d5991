"""One balancer after another: first equal magnitudes, then surgery."""

from __future__ import annotations

from torch import Tensor

from recsys.balance.balancer import Balance, Balancer, Shares, scaled
from recsys.value import value


@value
class Chain:
    """The second balancer sees losses and gradients as the first has weighed them; shares multiply."""

    first: Balancer
    then: Balancer

    def start(self, tasks: int, seed: int) -> Balance:
        one, two = self.first.start(tasks, seed), self.then.start(tasks, seed)

        def balance(losses: Tensor, gram: Tensor) -> Shares:
            weighed = one(losses, gram)
            cut = two(losses * weighed.own, scaled(gram, weighed.shared))
            return Shares(weighed.shared * cut.shared, weighed.own * cut.own)

        return balance
