//! How much may wait for each gateway. Rules workers are ours, and make way for each other by themselves.
//!
//! Pure.

use mapkeep_proto::{GatewayId, Group};
use std::collections::BTreeMap;

/// Bytes that are kept for requests that wait for gateways, for all of these together: half of what is kept for all clients,
/// who have their connections closed when there is more.
const ALL: usize = 32 << 20;
/// What a question counts for beside what is kept for its request.
const OVERHEAD: usize = 200;

/// Why a question is not asked.
pub(super) const TOO_MANY: &str = "too many questions wait for the gateway that answers for this table: as much as there is room for others";

/// What waits, in bytes.
///
/// A gateway may have as much as is left for the others: one alone gets half of it all, two get a third each. So however
/// many are silent, there is room for the next.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    all: usize,
    of_gateways: BTreeMap<GatewayId, usize>,
}

impl Bounds {
    /// Notes that a question waits for this group, for whose request so many bytes are kept. False: it is one too many.
    pub(super) fn admit(&mut self, group: Group, held: usize) -> bool {
        let Group::Gateway(id) = group else { return true };
        let cost = held.saturating_add(OVERHEAD);
        let of_gateway = self.of_gateways.get(&id).copied().unwrap_or_default();
        let room = ALL.saturating_sub(self.all).saturating_sub(of_gateway) / 2;
        if cost > room {
            return false;
        }
        self.all = self.all.saturating_add(cost);
        self.of_gateways.insert(id, of_gateway.saturating_add(cost));
        true
    }

    /// A question that was admitted waits no longer.
    pub(super) fn release(&mut self, group: Group, held: usize) {
        let Group::Gateway(id) = group else { return };
        let cost = held.saturating_add(OVERHEAD);
        self.all = self.all.saturating_sub(cost);
        if let Some(bytes) = self.of_gateways.get_mut(&id) {
            *bytes = bytes.saturating_sub(cost);
            if *bytes == 0 {
                self.of_gateways.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: usize = 1000;
    const ONE: Group = Group::Gateway(GatewayId(7));

    /// Has as many questions wait for the group as are admitted, and gives their bytes.
    fn fill(bounds: &mut Bounds, group: Group) -> usize {
        let admitted = (0..ALL).take_while(|_| bounds.admit(group, QUESTION - OVERHEAD)).count();
        admitted * QUESTION
    }

    #[test]
    fn silent_gateways_leave_room_for_the_next() {
        let mut bounds = Bounds::default();
        let mut left = ALL;
        for id in 0..8 {
            let bytes = fill(&mut bounds, Group::Gateway(GatewayId(id)));
            // Half of what the ones before have left, and none of them gets more.
            assert!(bytes.abs_diff(left / 2) <= QUESTION, "{id}: {bytes} of {left}");
            assert_eq!(fill(&mut bounds, Group::Gateway(GatewayId(0))), 0);
            left -= bytes;
        }
        assert!(
            (0..1_000_000).all(|_| bounds.admit(Group::Rules, QUESTION)),
            "rules workers are not gateways"
        );
    }

    #[test]
    fn what_is_answered_makes_room_again() {
        let mut bounds = Bounds::default();
        let count = fill(&mut bounds, ONE) / QUESTION;
        (0..count).for_each(|_| bounds.release(ONE, QUESTION - OVERHEAD));
        assert_eq!((bounds.all, bounds.of_gateways.len()), (0, 0));
        assert_eq!(fill(&mut bounds, ONE), count * QUESTION);
    }

    #[test]
    fn longest_question_is_admitted_when_nothing_waits() {
        assert!(Bounds::default().admit(ONE, mapkeep_proto::MAX_KEY + mapkeep_proto::MAX_VALUE));
    }
}
