"""The calls of the Controller service that change something, and their lines in the log."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from monolith_cli.control.service import MAX_MESSAGE_BYTES, request, response
from monolith_cli.training.control.asked_saves import AskedSaves
from monolith_cli.training.control.holder import HeldBarrier, seconds_to_live
from monolith_cli.training.control.log import ControlLog
from monolith_cli.training.control.refusals import CallRefusedError, check_presence, failing

__all__ = ["Orders"]


class _Order:
    """A call that changes something, and what its log line says.

    Attributes
    ----------
    owner
        Who asks.
    holder
        Whose barrier it was, if it was removed by force.
    """

    def __init__(self, context: Any) -> None:
        self.context = context
        self.owner = ""
        self.holder: str | None = None


class Orders:
    """Carries out the orders of callers who may give them.

    Parameters
    ----------
    barrier, saves
        The job's.
    request_stop
        Ends the training cleanly, for a reason.
    log
        Gets a line for each order, except for the renewal of a barrier, which comes all the time.
    """

    def __init__(
        self,
        barrier: HeldBarrier,
        saves: AskedSaves,
        request_stop: Callable[[str], None],
        log: ControlLog,
    ) -> None:
        self._barrier = barrier
        self._saves = saves
        self._request_stop = request_stop
        self._log = log
        self._acts: dict[str, Callable[[Any, _Order], Any]] = {
            "StopTraining": self._stop_training,
            "ResumeTraining": self._resume_training,
            "SaveCheckpoint": self._save_checkpoint,
            "PlaceBarrier": self._place_barrier,
            "RenewBarrier": self._renew_barrier,
            "RemoveBarrier": self._remove_barrier,
            "SaveNow": self._save_now,
            "StopJob": self._stop_job,
        }

    def obey(self, method: str, requests: Iterator[bytes], context: Any) -> Any:
        """Carry out an order, log the result, and return the response.

        Takes the messages of the request, and grpc's context. Failures are a `CallRefusedError`.
        """
        asked, result = None, "done"
        order = _Order(context)
        try:
            asked = _parse(method, requests, context)
            order.owner = getattr(asked, "owner", "")
            with failing(method):
                return self._acts[method](asked, order)
        except CallRefusedError as error:
            result = str(error)
            raise
        finally:
            # Whoever holds a barrier renews it all the time.
            if method != "RenewBarrier" or result != "done":
                self._log.write(
                    method,
                    result,
                    owner=order.owner,
                    peer=context.peer(),
                    reason=getattr(asked, "reason", ""),
                    holder=order.holder,
                )

    # The barrier.

    def _stop_training(self, asked: Any, order: _Order) -> Any:
        self._barrier.place("", "", None, order.context)
        return response("StopTraining")()

    def _resume_training(self, asked: Any, order: _Order) -> Any:
        self._barrier.remove(anonymous=True)
        return response("ResumeTraining")()

    def _place_barrier(self, asked: Any, order: _Order) -> Any:
        holder = self._barrier.place(
            asked.owner, asked.reason, seconds_to_live(asked.ttl_ms), order.context
        )
        return response("PlaceBarrier")(
            lease_id=holder.lease_id, generation=holder.generation, expires_in_ms=asked.ttl_ms
        )

    def _renew_barrier(self, asked: Any, order: _Order) -> Any:
        order.owner = self._barrier.owner_of(asked.lease_id)  # also of one that is gone
        self._barrier.renew(asked.lease_id, seconds_to_live(asked.ttl_ms))
        return response("RenewBarrier")(expires_in_ms=asked.ttl_ms)

    def _remove_barrier(self, asked: Any, order: _Order) -> Any:
        order.holder = self._barrier.remove(
            lease_id=asked.lease_id, owner=asked.owner, force=asked.force
        )
        return response("RemoveBarrier")()

    # Saves, and the end.

    def _save_checkpoint(self, asked: Any, order: _Order) -> Any:
        self._saves.save(order.context, require_all=None)
        return response("SaveCheckpoint")()

    def _save_now(self, asked: Any, order: _Order) -> Any:
        # Not less than the job requires: it might not be able to start from such a step.
        saved = self._saves.save(order.context, require_all=asked.require_all or None)
        if saved is None:  # a dense-only hook
            what = "a full save has just covered this step"
            raise CallRefusedError(grpc.StatusCode.ABORTED, what)
        return response("SaveNow")(
            step=saved.step,
            path=os.path.abspath(saved.path),  # clients have other working directories
            finished_workers=saved.finished_workers,
            unfinished_workers=saved.unfinished_workers,
        )

    def _stop_job(self, asked: Any, order: _Order) -> Any:
        self._request_stop(asked.reason)
        return response("StopJob")()


def _parse(method: str, requests: Iterator[bytes], context: Any) -> Any:
    try:
        data = next(requests)
    except (StopIteration, grpc.RpcError) as error:
        check_presence(context)
        what = "there is no request that can be taken"
        raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what) from error
    if len(data) > MAX_MESSAGE_BYTES:
        what = f"a request of {len(data)} bytes is too long: {MAX_MESSAGE_BYTES} are taken"
        raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what)
    try:
        return request(method).FromString(data)
    except DecodeError as error:
        what = "the request does not parse"
        raise CallRefusedError(grpc.StatusCode.INVALID_ARGUMENT, what) from error
