//! One worker: what it is sent next, and what it may say when.

use super::*;

/// Who judges what, as one worker sees it.
pub(super) struct Bench<'a> {
    pub(super) judges: &'a mut BTreeMap<TableId, WorkerId>,
    pub(super) id: WorkerId,
    pub(super) may_judge: bool,
}

impl Bench<'_> {
    /// What this worker may be given of a table: what no worker has in use yet only if nobody else is judging.
    pub(super) fn offer(&self, tables: &Tables, table: TableId, doubtful: bool) -> Offer {
        let elsewhere = self.judges.get(&table).is_some_and(|judge| *judge != self.id) || !self.may_judge;
        match (doubtful, elsewhere) {
            (true, true) => Offer::Nothing,
            (true, false) => tables
                .doubtful(table, true)
                .map_or(Offer::Nothing, |(kind, content)| Offer::Content(kind, content)),
            (false, _) => match tables.offer(table) {
                Offer::Content(_, content) if elsewhere && !content.is_proven() => Offer::Later,
                offer => offer,
            },
        }
    }

    pub(super) fn note(&mut self, table: TableId, content: &Content) {
        if !content.is_proven() {
            self.judges.insert(table, self.id);
        }
    }
}

impl Worker {
    /// Whether it serves new clients of `class` now.
    pub(crate) fn takes_clients(&self, class: TrustClass) -> bool {
        self.class == class && self.duty == Duty::Clients && self.is_ready() && self.outbox.len() < WAITING
    }

    /// Whether it serves: it is admitted, and has had all that it was to get before its first client. What comes later does
    /// not keep clients waiting: the old content answers meanwhile.
    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Admitted && self.settled && self.introduced
    }

    /// Whether nobody waits for anything from it. `connected`: there are clients, its own or another worker's.
    pub(super) fn is_resting(&self, connected: bool) -> bool {
        let started = matches!(self.stage, Stage::Admitted | Stage::Draining);
        let asked = self.clients > 0 || (self.duty == Duty::Rules && connected);
        started && !asked && self.supply.is_idle()
    }

    /// Whether it has answered for all that it was to get first.
    pub(super) fn is_settled(&self) -> bool {
        self.stage != Stage::Starting && self.supply.is_settled()
    }

    pub(super) fn blame(&self) -> Blame {
        let content = |message: &BrokerToLookup| matches!(message, BrokerToLookup::Snapshot { .. });
        self.supply.blame(self.outbox.count(content))
    }

    /// Puts what it still gets into its outbox, as far as that may be on its way. True if there was something.
    pub(super) fn fill(
        &mut self,
        tables: &Tables,
        bench: &mut Bench<'_>,
        careful: bool,
        now: Instant,
    ) -> bool {
        // What ends it before it can have begun to load is not to be blamed on a content.
        if self.stage == Stage::Starting {
            return false;
        }
        let mut any = false;
        while self.outbox.len() < WAITING
            && let Some((id, what)) =
                self.supply.next(now, careful, |table, doubtful| bench.offer(tables, table, doubtful))
        {
            any = true;
            match what {
                Offer::Content(kind, content) => {
                    bench.note(id, &content);
                    let (generation, size) = (content.generation, content.snapshot.size);
                    let message = BrokerToLookup::Snapshot { id, generation, kind, size };
                    self.outbox.push(message, Freight::Content(content));
                }
                Offer::Unavailable(reason) => {
                    self.outbox.push(BrokerToLookup::Unavailable { id, reason }, Freight::None);
                }
                Offer::Nothing | Offer::Later => {}
            }
        }
        any
    }

    /// All that a worker may say, and when.
    pub(super) fn judge(&mut self, message: LookupToBroker, now: Instant) -> Incoming {
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
                    (false, _) => Incoming::Violation("a verdict on a snapshot that it was not sent"),
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
