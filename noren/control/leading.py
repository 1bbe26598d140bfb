"""One of the control planes that share a store leads, and acts. The others wait, and take commands meanwhile."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from noren.control.clock import SteadyClock
from noren.control.fenced import FencedDoor, FencedGate, FencedRuntime, FencedStore
from noren.control.loop import Loop
from noren.control.ports import Lease, Leases, Store
from noren.control.reconcile import Drivers
from noren.domain.errors import DriverError, DriverUnavailable, NorenError

_BEAT = 0.4  # of the lease's seconds: two beats may fail before another control plane takes over
_LOOK = 0.1  # ... from one look to the next of those that wait

log = structlog.get_logger()


class Leadership:
    """The part of this control plane in who leads. Only its loop claims; others may ask whether it leads.

    holder   the name of this control plane; none that lives has the same
    seconds  without a sign of life from us after which another takes over
    now      the time of day, which goes on from that of the leader before
    clock    seconds that only rise: who waits measures by them how long the leader is silent
    heard    the highest epoch that wrote to the front door: a store that was put back from a copy may know less
    """

    def __init__(
        self,
        leases: Leases,
        *,
        holder: str,
        seconds: float,
        now: SteadyClock,
        clock: Callable[[], float],
        heard: Callable[[], int],
    ) -> None:
        self.holder, self.seconds = holder, seconds
        self._leases, self._now, self._clock, self._heard = leases, now, clock, heard
        self._ours: Lease | None = None  # as we wrote it last, while we lead
        self._beaten_at = 0.0
        self._seen: Lease | None = None  # as we read it last; None: the store did not answer
        self._seen_at = 0.0  # when it was so for the first time
        self._newborn = True  # nothing was found out yet
        self._said = ""  # the last complaint

    @property
    def epoch(self) -> int | None:
        """By which we lead; None while we do not."""
        ours = self._ours
        return ours.epoch if ours else None

    @property
    def leader(self) -> str:
        """Who leads, as far as we know; "" when that is nobody."""
        seen = self._ours or self._seen
        return seen.holder if seen and seen.seconds else ""

    def claim(self) -> bool:
        """Give a sign of life, or take over from who gave none for too long. Whether we lead now.

        Asks the store only when a beat is due. Raises DriverUnavailable while it cannot be told who leads.
        """
        if self._ours and self._clock() - self._beaten_at < _BEAT * self.seconds:
            return True
        found = self._look()
        epoch = self._epoch_now(found)
        if epoch != found.epoch:
            self._settle(None)  # it is not ours, or not yet
        if epoch is None:
            self._newborn = False
            return False
        return self._take(found, epoch)

    def require(self) -> int:
        """The epoch of our lead, for whoever is about to change something. Raises DriverUnavailable when it is over."""
        epoch = self.epoch if self.claim() else None
        if epoch is None:
            raise DriverUnavailable(f"{self.leader or 'another control plane'} leads now", fix="nothing: it goes on")
        return epoch

    def doubt(self) -> None:
        """Ask the store at the next claim."""
        self._beaten_at = -self.seconds

    def resign(self) -> None:
        """Let another take over at once. If that cannot be said, it takes over later."""
        ours, self._ours = self._ours, None
        if ours:
            with suppress(NorenError):
                self._leases.take(replace(ours, beat=ours.beat + 1, seconds=0.0), instead_of=ours)

    def _look(self) -> Lease:
        """The lease as it is. A holder is silent only for as long as the store answers us."""
        try:
            found = self._leases.lease()
        except DriverError:
            self._seen = None
            raise
        before = self._seen
        if found != before:
            self._seen, self._seen_at = found, self._clock()
        # What this control plane dates, be it a command, must not seem long past to the one that leads, nor to come.
        self._now.not_before(found.at)
        if before and before.beat != found.beat and found.holder != self.holder:  # another lives
            self._now.not_after(found.at + timedelta(seconds=max(found.seconds, before.seconds)))
        return found

    def _epoch_now(self, found: Lease) -> int | None:
        """The epoch by which we may lead; None while another control plane does."""
        if self._ours and (found.holder, found.epoch) == (self.holder, self._ours.epoch):
            return found.epoch
        # Nobody who lives has our name: it is the lease of our own earlier life.
        bequeathed = self._newborn and found.holder == self.holder
        if bequeathed or self._clock() - self._seen_at >= found.seconds:
            return max(found.epoch, self._heard()) + 1
        return None

    def _take(self, found: Lease, epoch: int) -> bool:
        at = self._clock()
        wanted = Lease(holder=self.holder, epoch=epoch, beat=found.beat + 1, seconds=self.seconds, at=self._now())
        try:
            taken = self._leases.take(wanted, instead_of=found)
        except DriverUnavailable as error:
            self._seen = None  # who cannot say that it lives may live
            if epoch != found.epoch:
                raise
            # The lease that we have just read is ours; and where nothing can be written, nobody can take it.
            self._complain(str(error))
            self._beaten_at = at
            return True
        self._said, self._beaten_at, self._newborn = "", at, False
        self._settle(wanted if taken else None)
        return taken

    def _settle(self, lease: Lease | None) -> None:
        """Keep whether we lead, and tell when that has changed."""
        before, self._ours = self._ours, lease
        if lease and (before is None or before.epoch != lease.epoch):
            log.info("lead", epoch=lease.epoch, after=self._seen.holder if self._seen else "")
        if before and lease is None:
            log.warning("lead lost", epoch=before.epoch, leader=self.leader)

    def _complain(self, problem: str) -> None:
        if self._said != problem:
            log.warning("lease", problem=problem)
        self._said = problem


class LedLoop(Loop):
    """A loop that acts only while its control plane leads, and whose drivers refuse it from then on."""

    def __init__(
        self, store: Store, drivers: Drivers, now: Callable[[], datetime], leadership: Leadership, **more: Any
    ) -> None:
        super().__init__(FencedStore(store, leadership), fenced(drivers, leadership), now, **more)
        self._leadership = leadership

    def run(self) -> None:
        """Tick until `stop`, and let another lead then."""
        try:
            super().run()
        finally:
            self._leadership.resign()

    def tick(self) -> float:
        """The next step of every deployment, while we lead; the seconds until the next tick is due."""
        if not self._leadership.claim():
            self._said.clear()  # it is the leader's trouble now
            return _LOOK * self._leadership.seconds
        return min(super().tick(), _BEAT * self._leadership.seconds)


def fenced(drivers: Drivers, leadership: Leadership) -> Drivers:
    """The same hands, for a control plane that leads. When it leads no more they do nothing for it."""
    return replace(
        drivers,
        runtime=FencedRuntime(drivers.runtime, leadership),
        front_door=FencedDoor(drivers.front_door, leadership),
        gate=FencedGate(drivers.gate, leadership),
    )
