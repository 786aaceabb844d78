"""A barrier at which workers stop between two steps, with limits so that nobody waits for ever.

All of it is variables on the first parameter server, which only the chief initialises:

================== =========== ===============================================================
variable           written by  what
================== =========== ===============================================================
barrier_var[0]     chief       the barrier is placed
barrier_var[i]     worker i    worker i stands at it
barrier_op_action  chief       action of the newest placement or request, for original readers
request            chief       which generation's callbacks are to run, with their action
acknowledged[0]    chief       the last generation whose callbacks it has finished
acknowledged[i]    worker i    the same; the newest one negated if it left without the barrier's
                               removal
lease              chief       a counter, raised while the chief lives and holds the barrier
================== =========== ===============================================================

There are also the variables of `run_state`: a worker leaves the barrier when the run id changes.
And there are those that say who has ended, or is about to.

A placement and a request for a save each raise the generation. The chief writes `request`, then
element 0; a worker reads element 0, then `request`, then the rest. So a worker that sees a barrier
placed sees that placement's request, or a newer one. `request` is one string and is read whole, so
an action never comes with another generation. A worker sets its element, runs the callbacks of the
generation that it read, unless it has acknowledged a later one, and writes that generation to its
acknowledgement. So an acknowledgement means "at least this generation". If a callback returns
False, it has not finished what it was asked for. Then the generation is not acknowledged, and its
callbacks are not run again; those of the next generation are.

Why the races are harmless:

- Removed and placed again within one poll: the worker sees a newer generation and acknowledges it.
- Removed after a worker's step has read it as placed: the worker reads again, and goes on.
- A request closed while a worker runs its callbacks: the worker has stood still since it read the
  request, so its acknowledgement is true, early or late. Callbacks that write files check
  `is_request_open` before these files become visible.
- A worker leaves when the lease ends while the chief still saves: it takes its acknowledgement back
  in the same run as its element, before its next step, and cannot acknowledge that generation
  again. So the chief's last check before the commit counts it as unfinished.
- A worker that has not finished a request acknowledges a newer placement, made during the request:
  it does so only after the request is closed, and `wait_until_acknowledged` checks before it
  closes.
- A worker dies after its acknowledgement: what it acknowledged stays true, and the next process
  starts from there. Its element stays set until that process clears or keeps it.
- The chief dies: the lease no longer changes. When the chief starts again, all variables are new,
  and generations start from the clock (microseconds since 1970), so none is used twice. An
  acknowledgement above the newest generation comes from an earlier chief and counts for nothing.
"""

from __future__ import annotations

from monolith_cli.errors import BarrierAlreadyPlacedError
from monolith_cli.training.barrier.callbacks import RunningRequest, running_request
from monolith_cli.training.barrier.hook import BarrierHook
from monolith_cli.training.barrier.op import BarrierOp
from monolith_cli.training.barrier.view import BarrierView

__all__ = [
    "BarrierAlreadyPlacedError",
    "BarrierHook",
    "BarrierOp",
    "BarrierView",
    "RunningRequest",
    "running_request",
]
