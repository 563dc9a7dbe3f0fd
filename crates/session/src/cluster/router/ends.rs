//! The ends of legs and of the session, and the errors in place of replies.

use super::joins::Joins;
use super::leg::Broken;
use super::order::Order;
use super::{Ended, Front, Kind, LegIndex, LegState, PATIENCE, REDIAL, Router, Turn};
use crate::link::Unavailable;
use crate::tick::Tick;

impl Router {
    /// Gives up the node whose reply is next, because it does not answer in time. Its pending commands get errors.
    /// Returns whether there is such a node.
    pub fn give_up_front(&mut self) -> bool {
        let Turn::Leg(leg) = self.turn() else { return self.give_up_subscription() };
        self.hints.silent = self.legs.get(leg).map(|leg| leg.node);
        self.break_off(leg, Broken::Lost);
        true
    }

    /// Records that a dial failed, or that a node refused the set-up.
    pub fn unreachable(&mut self, index: LegIndex, why: Unavailable, now: Tick) {
        let Some(leg) = self.legs.get_mut(index) else { return };
        if why == Unavailable::Refused {
            self.hints.refused = Some(leg.node);
        }
        let since = match leg.state {
            LegState::Closed { since, is_dialling: true, .. } | LegState::SettingUp { since, .. } => since,
            LegState::Open => now,
            LegState::Closed { .. } | LegState::Broken(_) => return,
        };
        let is_login =
            self.apart.front().is_some_and(|apart| apart.leg == index && apart.kind == Kind::Login);
        if leg.reads_for.is_some() {
            // The master executes the reads meanwhile, so that nothing waits for a replica.
            if why.passes() {
                self.hints.silent = Some(leg.node);
            }
            self.avoid_reader(index, now);
            self.break_off(index, Broken::Unreached(why));
        } else if is_login && why.passes() && since.after(PATIENCE) > now {
            self.log_in_elsewhere(index, now);
        } else if why.passes() && since.after(PATIENCE) > now && !self.maps.is_down(leg.node) {
            leg.close(since, now.after(REDIAL));
        } else {
            if why != Unavailable::Refused {
                self.hints.silent = Some(leg.node);
            }
            self.break_off(index, Broken::Unreached(why));
        }
    }

    /// Records that the connection of a leg has ended.
    pub fn lost(&mut self, index: LegIndex, now: Tick) {
        let is_bound = self.bound_leg() == Some(index);
        let Some(leg) = self.legs.get_mut(index) else { return };
        if matches!(leg.state, LegState::SettingUp { .. }) {
            return self.unreachable(index, Unavailable::Connect, now);
        }
        if leg.listens {
            self.hints.cluster_down = true;
            self.break_off(index, Broken::Lost);
            return self.go_on_listening(now);
        }
        if leg.pending() == 0 && !self.transaction.uses(index) {
            self.legs.remove(index);
            return;
        }
        let is_left_reader = leg.is_left && leg.reads_for.is_some();
        if leg.breaks() || self.transaction.uses(index) || (leg.is_cut && is_bound) || is_left_reader {
            self.hints.cluster_down = true;
            let why = if leg.is_cut { Broken::Left } else { Broken::Lost };
            self.avoid_reader(index, now);
            self.break_off(index, why);
        } else {
            leg.close(now, now);
        }
    }

    /// Ends the session at once. The pending commands get no reply.
    pub(super) fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
        self.order = Order::default();
        self.apart.clear();
        self.ahead.clear();
        self.own.clear();
        self.joins = Joins::default();
        self.scan = None;
        self.front = Front::Ordered;
        self.subscriptions.end();
    }

    /// Ends a leg. Its pending commands get errors, each in its turn.
    pub(super) fn break_off(&mut self, index: LegIndex, why: Broken) {
        if let Some(leg) = self.legs.get_mut(index) {
            leg.break_off(why);
        }
        if self.transaction.uses(index) {
            self.ended.get_or_insert(Ended::Lost);
        }
        let is_login =
            self.apart.front().is_some_and(|apart| apart.leg == index && apart.kind == Kind::Login);
        if let (true, Broken::Unreached(why)) = (is_login, why) {
            // The caller tells the client why no node is available: a line in place of a login would be taken for a
            // refusal.
            self.end(Ended::Unavailable(why));
        }
        self.incoming.leg_lost(index);
        if self.legs.get(index).is_some_and(|leg| leg.listens) {
            self.listener_gone(index, why);
        }
    }

    /// Returns the error in place of a reply that a leg owes.
    pub(super) fn loss_line(&self, leg: Option<LegIndex>) -> Vec<u8> {
        let upstream = &self.upstream;
        let fate = "this command may or may not have run";
        match leg.and_then(|leg| self.legs.get(leg)?.broken()) {
            Some(Broken::Unreached(why)) => unavailable(upstream, why),
            Some(Broken::Left) => {
                format!("-ERR portcullis: upstream '{upstream}' changed a master; {fate}\r\n").into_bytes()
            }
            Some(Broken::Lost) | None => {
                format!("-ERR portcullis: upstream '{upstream}' closed the connection; {fate}\r\n")
                    .into_bytes()
            }
        }
    }
}

/// Returns the error line for a command that cannot be sent.
pub(super) fn unavailable(upstream: &str, why: Unavailable) -> Vec<u8> {
    format!("-ERR portcullis: upstream '{upstream}' unavailable ({})\r\n", why.as_str()).into_bytes()
}
