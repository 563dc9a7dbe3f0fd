//! Moves many slots, and finds hash tags for them.

use std::ops::RangeInclusive;
use std::thread::sleep;
use std::time::Duration;

use super::Cluster;
use crate::client::Client;

/// The candidates for hash tags that are tried at once.
const CANDIDATES: usize = 1000;

/// The time for which a slot with keys is under way before its keys move, and afterwards. Clients use it meanwhile.
const UNDER_WAY: Duration = Duration::from_millis(10);

impl Cluster {
    /// Returns hash tags whose slots are in `slots`.
    pub fn tags(&self, slots: &RangeInclusive<u16>, count: usize) -> Vec<String> {
        let mut control = self.node(self.running()).control();
        let mut found = Vec::new();
        for first in (0..).step_by(CANDIDATES) {
            let tags: Vec<String> = (first..first + CANDIDATES).map(|number| format!("t{number}")).collect();
            let lines: String = tags.iter().map(|tag| format!("CLUSTER KEYSLOT {tag}\r\n")).collect();
            control.send_raw(lines.as_bytes());
            for tag in tags {
                let slot = u16::try_from(control.recv().integer()).expect("a slot");
                if slots.contains(&slot) && found.len() < count {
                    found.push(tag);
                }
            }
            if found.len() == count {
                break;
            }
        }
        found
    }

    /// Moves slots with their keys from one node to another. Returns the number of keys that were moved.
    pub fn move_slots(&self, slots: RangeInclusive<u16>, from: usize, to: usize) -> usize {
        let mut source = self.node(from).control();
        let mut target = self.node(to).control();
        let others = self.all_running().into_iter().filter(|node| *node != from && *node != to);
        let mut others: Vec<Client> = others.map(|node| self.node(node).control()).collect();
        let (source_id, target_id) = (self.id(from), self.id(to));
        let mut moved = 0;
        for slot in slots {
            target.assert_reply(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}"), "+OK");
            source.assert_reply(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"), "+OK");
            let count = format!("CLUSTER COUNTKEYSINSLOT {slot}");
            // The source sends clients to the target for keys that it does not have, before and after the keys move.
            let has_keys = source.call(&count).integer() > 0;
            let wait = || has_keys.then(|| sleep(UNDER_WAY));
            wait();
            while source.call(&count).integer() > 0 {
                moved += self.move_keys(slot, from, to);
            }
            wait();
            // The new owner first, so that no node ever has an owner that does not know it.
            let done = format!("CLUSTER SETSLOT {slot} NODE {target_id}");
            target.assert_reply(&done, "+OK");
            source.assert_reply(&done, "+OK");
            others.iter_mut().for_each(|other| other.send(&done));
            // A replica refuses it, and hears of it from its master.
            others.iter_mut().for_each(|other| _ = other.recv());
        }
        moved
    }

    /// Returns the running masters, as they see themselves.
    pub fn masters(&self) -> Vec<usize> {
        self.all_running().into_iter().filter(|node| self.is_master(*node)).collect()
    }
}
