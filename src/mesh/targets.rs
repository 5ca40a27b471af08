//! All addresses that may be dialled, and when the first of them is due.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Instant;

use super::dial_budget::DialBudget;
use super::roster::Roster;
use super::target::Target;
use crate::proto::Address;

/// The addresses, in their order.
///
/// When the first one is due is asked after each step of the engine, and working it out takes a look
/// at every address and at whom it may lead to. So it is kept, together with what it rests on: the
/// addresses, which are changed only through [`Self::change`], and how the peers stand
/// ([`Roster::version`]), of which a target knows nothing but [`Roster::standing`].
#[derive(Default)]
pub struct Targets {
    all: BTreeMap<Address, Target>,
    budget: DialBudget,
    first: Option<First>,
    /// How often every address was looked at.
    #[cfg(test)]
    pub looks: std::cell::Cell<u32>,
}

/// When the first address is due, if any is, as long as the peers stand as they did then.
struct First {
    due: Option<Instant>,
    version: u64,
}

impl Deref for Targets {
    type Target = BTreeMap<Address, Target>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Targets {
    /// The addresses, to be changed.
    pub fn change(&mut self) -> &mut BTreeMap<Address, Target> {
        self.first = None;
        &mut self.all
    }

    /// What gossip may still have this end dial.
    pub fn budget(&self) -> &DialBudget {
        &self.budget
    }

    /// The same, to be changed, and the addresses.
    pub fn change_with_budget(&mut self) -> (&mut BTreeMap<Address, Target>, &mut DialBudget) {
        self.first = None;
        (&mut self.all, &mut self.budget)
    }

    /// When an address should be dialled, if it should.
    pub fn due_at(&self, address: &Address, target: &Target, roster: &Roster) -> Option<Instant> {
        if target.dialling.is_some() || target.stopped {
            return None;
        }
        if target.is_known_and_wanted(roster) {
            return Some(target.due);
        }
        let payers: Vec<_> = target.payers(address, roster, &self.budget).collect();
        if payers.is_empty() {
            return None;
        }
        self.budget.ready_at(&payers).max(Some(target.due))
    }

    /// Whether an address should be dialled some time, as things are.
    pub fn is_wanted(&self, address: &Address, target: &Target, roster: &Roster) -> bool {
        let mut payers = target.payers(address, roster, &self.budget);
        !target.stopped && (target.is_known_and_wanted(roster) || payers.next().is_some())
    }

    /// When the first one should be dialled.
    pub fn first_due(&self, roster: &Roster) -> Option<Instant> {
        match self.kept(roster) {
            Some(first) => first.due,
            None => self.look(roster),
        }
    }

    /// The same, kept for when it is asked again.
    pub fn keep_first_due(&mut self, roster: &Roster) -> Option<Instant> {
        if let Some(first) = self.kept(roster) {
            return first.due;
        }
        let due = self.look(roster);
        let kept = roster.version().map(|version| First { due, version });
        self.first = kept;
        due
    }

    /// What was worked out, if it still holds.
    fn kept(&self, roster: &Roster) -> Option<&First> {
        let first = self.first.as_ref()?;
        (roster.version() == Some(first.version)).then_some(first)
    }

    fn look(&self, roster: &Roster) -> Option<Instant> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        let due = self.all.iter();
        due.filter_map(|(address, target)| self.due_at(address, target, roster))
            .min()
    }
}
