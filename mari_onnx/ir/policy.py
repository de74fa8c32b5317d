"""The numbers that decide whether a plan pays.

The cost model (see `cost`) estimates times. The numbers here say how large a gain has to be, and how a call with a
single candidate is weighed against one with many. Each has its source: a command of this repository that measures it,
or a decision and its reason.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """The numbers, with their sources. The program uses the instance `POLICY`.

    `emphases`               Weights of a call with a single candidate beside one with many. One plan is made for each,
                             in this order, until a plan is no slower than the original for a single candidate.
                             Source: `python -m benchmarks models`, at 1 and at 500 candidates.
    `single`                 Up to this time, in units of the original's, a call with a single candidate counts as no
                             slower.
                             Source: two runs of `python -m benchmarks models` differ by up to 5 %.
    `exponent`               A plan that is r times slower than `single` allows counts as r ** exponent times slower for
                             many candidates: at 1/8, one that is twice too slow has to be 9 % faster for many.
                             Source: a decision; calls with a single candidate are rare. At 1/4 the plan that is best
                             for 500 candidates was refused for DIN (`python -m benchmarks handmade`: 1.15).
    `ns_per_call`            Nanoseconds of a call before any node runs, and for each input of the model.
    `ns_per_input`           Source: `python -m benchmarks calibrate`.
    `requests`               Requests in a batch of several, as the cost model counts them. Source: a decision.
    `worthwhile`             Estimated time, in units of the original's, from which a model with less arithmetic is
                             written. Source: a decision; less than 1 % is not measurable.
    `rearranged`             The same for a model with as much arithmetic as the original.
                             Source: `python -m benchmarks calibrate`; estimates are off by more than fewer nodes gain.
    `two_graphs`             Weighed time, in units of that of one graph, from which a model holds the exported graph as
                             well. Source: a decision. The choice is paid in every call, and is dearest, a fifth of the
                             time, just above the number of candidates at which the graphs take turns
                             (`python -m benchmarks handmade --batch 1 10 20`).
    `launches_of_a_part`     Launches that one more part of a product has to save: for a product of rows, and for one
    `launches_of_a_batch`    in more dimensions, where the sum of the parts is a node of its own.
                             Source: `python -m benchmarks handmade`.
    `largest_growth`         Bytes up to which a constant is computed and stored though it is larger than everything
                             that it is made of. Beyond, the node that makes it is written: an Expand of one number to
                             5e7 would make 200 MB of a file of 19 kB.
                             Source: a decision; weights that are joined for one product stay below it.
    """

    emphases: tuple[float, ...] = (0.0, 4.0, 64.0)
    single: float = 1.05
    exponent: float = 0.125
    ns_per_call: float = 4500.0
    ns_per_input: float = 600.0
    requests: int = 4
    worthwhile: float = 0.99
    rearranged: float = 0.95
    two_graphs: float = 0.95
    launches_of_a_part: float = 1.5
    launches_of_a_batch: float = 2.0
    largest_growth: int = 2**24

    def call(self, inputs: int) -> float:
        """Nanoseconds of a call of a model with so many inputs, before any node runs."""
        return self.ns_per_call + self.ns_per_input * inputs

    def handicap(self, before: float, after: float, *, counts: bool = False) -> float:
        """What the time for many candidates is multiplied by: 1, or more where a call with few gets slower.

        `before` and `after` are nanoseconds of a call with few candidates. With `counts`, such calls matter as much as
        those with many.
        """
        return float(max(1.0, after / before / self.single) ** (1.0 if counts else self.exponent))

    def pays(self, *, macs: tuple[int, int], time: tuple[float, float]) -> bool:
        """Whether a result is worth having. `macs` and `time` (ns) are pairs: of the original, and of the result."""
        enough = self.worthwhile if macs[1] < self.worthwhile * macs[0] else self.rearranged
        return macs[1] <= macs[0] and time[1] < enough * time[0]

    def stores(self, size: int, largest_source: int) -> bool:
        """Whether a constant of so many bytes is stored; `largest_source` is the largest tensor it is made of."""
        return size <= max(self.largest_growth, largest_source)

    def launches(self, rank: int) -> float:
        """How many launches one more part of a product of this rank has to save."""
        return self.launches_of_a_part if rank == 2 else self.launches_of_a_batch


POLICY = Policy()
