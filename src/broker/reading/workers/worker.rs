//! One worker: what it is sent next, and what it may say when.

use super::*;

/// The trials of snapshots, as far as they concern one worker.
pub(super) struct Trials<'a> {
    pub(super) trying: &'a mut BTreeMap<TableId, WorkerId>,
    pub(super) id: WorkerId,
    pub(super) may_try: bool,
}

impl Trials<'_> {
    /// What this worker may be sent of a table: an untried snapshot only if no other worker is trying it.
    pub(super) fn offer(&self, tables: &Tables, table: TableId, suspect: bool) -> Offer {
        let elsewhere = self.trying.get(&table).is_some_and(|worker| *worker != self.id) || !self.may_try;
        match (suspect, elsewhere) {
            (true, true) => Offer::Nothing,
            (true, false) => tables
                .suspect(table, true)
                .map_or(Offer::Nothing, |(kind, snapshot)| Offer::Snapshot(kind, snapshot)),
            (false, _) => match tables.offer(table) {
                Offer::Snapshot(_, snapshot) if elsewhere && !snapshot.is_proven() => Offer::Later,
                offer => offer,
            },
        }
    }

    pub(super) fn note(&mut self, table: TableId, snapshot: &TableSnapshot) {
        if !snapshot.is_proven() {
            self.trying.insert(table, self.id);
        }
    }
}

impl Worker {
    /// Whether it serves new clients of `class` now.
    pub(crate) fn takes_clients(&self, class: TrustClass) -> bool {
        self.class == class && self.duty == Duty::Clients && self.is_ready() && self.outbox.len() < WAITING
    }

    /// Whether it serves: it is admitted, and has got all that it needs before its first client. Later snapshots do not
    /// keep clients waiting: the previous one answers meanwhile.
    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Admitted && self.settled && self.introduced
    }

    /// Whether nobody waits for anything from it. `connected`: there are clients, its own or another worker's.
    pub(super) fn is_resting(&self, connected: bool) -> bool {
        let started = matches!(self.stage, Stage::Admitted | Stage::Draining);
        let asked = self.clients > 0 || (self.duty == Duty::Rules && connected);
        started && !asked && self.supply.is_idle()
    }

    /// Whether it has answered for all snapshots that it needs first.
    pub(super) fn is_settled(&self) -> bool {
        self.stage != Stage::Starting && self.supply.is_settled()
    }

    pub(super) fn blame(&self) -> Blame {
        let snapshot = |message: &BrokerToLookup| matches!(message, BrokerToLookup::Snapshot { .. });
        self.supply.blame(self.outbox.count(snapshot))
    }

    /// Puts what it has yet to get into its outbox, as far as that may be in flight. True if there was something.
    pub(super) fn fill(
        &mut self,
        tables: &Tables,
        trials: &mut Trials<'_>,
        careful: bool,
        now: Instant,
    ) -> bool {
        // A crash before it can have begun to load must not be blamed on a snapshot.
        if self.stage == Stage::Starting {
            return false;
        }
        let mut any = false;
        while self.outbox.len() < WAITING
            && let Some((id, what)) =
                self.supply.next(now, careful, |table, suspect| trials.offer(tables, table, suspect))
        {
            any = true;
            match what {
                Offer::Snapshot(kind, snapshot) => {
                    trials.note(id, &snapshot);
                    let (generation, size) = (snapshot.generation, snapshot.copy.size);
                    let message = BrokerToLookup::Snapshot { id, generation, kind, size };
                    self.outbox.push(message, Freight::Snapshot(snapshot));
                }
                Offer::Unavailable(reason) => {
                    self.outbox.push(BrokerToLookup::Unavailable { id, reason }, Freight::None);
                }
                Offer::Nothing | Offer::Later => {}
            }
        }
        any
    }

    /// Which messages a worker may send, and when.
    pub(super) fn interpret(&mut self, message: LookupToBroker, now: Instant) -> Incoming {
        match (self.stage, message) {
            (Stage::Starting, LookupToBroker::Ready) => {
                self.stage = Stage::Checking;
                Incoming::Ready
            }
            (
                Stage::Checking | Stage::Admitted | Stage::Draining,
                LookupToBroker::Loaded { id, generation } | LookupToBroker::Rejected { id, generation },
            ) => {
                let in_use = matches!(message, LookupToBroker::Loaded { .. });
                match (self.supply.answered(id, generation, in_use, now), in_use) {
                    (false, _) => Incoming::Violation("an outcome for a snapshot that it was not sent"),
                    (true, true) => Incoming::Loaded(id, generation),
                    (true, false) => Incoming::Rejected(id, generation),
                }
            }
            (Stage::Admitted | Stage::Draining, LookupToBroker::Closed(count)) => {
                match self.clients.checked_sub(count) {
                    _ if count == 0 => Incoming::Violation("a count of zero closed connections"),
                    Some(left) => {
                        self.clients = left;
                        Incoming::Closed(count)
                    }
                    None => Incoming::Violation("a count of more closed connections than it had"),
                }
            }
            (_, LookupToBroker::Pong(number)) => match self.ping.take() {
                Some((asked, _)) if asked == number => Incoming::Nothing,
                _ => Incoming::Violation("an answer without a ping"),
            },
            (_, LookupToBroker::Ready) => Incoming::Violation("ready twice"),
            (_, LookupToBroker::Closed(_)) => {
                Incoming::Violation("a count of closed connections before it had any")
            }
            (_, LookupToBroker::Loaded { .. } | LookupToBroker::Rejected { .. }) => {
                Incoming::Violation("a message about a table before it was ready")
            }
        }
    }
}
