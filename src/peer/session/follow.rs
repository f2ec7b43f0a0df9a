//! Follows the zone by what the registry says: every message becomes a change of the view, and none is believed unchecked.

use anyhow::anyhow;
use tokio::sync::mpsc;

use super::{Session, request};
use crate::{
    protocol::membership::Renewal,
    wire::{
        self,
        pb::{self, session_request},
        session::Down,
    },
};

impl Session {
    /// Takes in what the registry says; true for the answer to a heartbeat. A lost change is noticed by its revision and
    /// mended by a snapshot.
    pub(super) fn follow(
        &self,
        message: pb::SessionResponse,
        up: &mpsc::Sender<pb::SessionRequest>,
    ) -> anyhow::Result<bool> {
        let (mut is_behind, mut is_ack) = (false, false);
        match wire::session::down(message)
            .map_err(|invalid| anyhow!("the registry's message is malformed: {invalid}"))?
        {
            Down::Ack(Renewal { revision, zone, sequence, .. }) => {
                is_ack = true;
                self.summaries.reach(sequence);
                let now = self.view.now();
                is_behind = now
                    .roster
                    .as_ref()
                    .is_none_or(|roster| (roster.zone(), roster.revision()) != (zone, revision));
            }
            Down::Delta(delta) => self.view.update(|now| {
                let Some(roster) = &now.roster else { return is_behind = true };
                let mut next = (**roster).clone();
                match next.apply(&delta) {
                    Ok(()) => now.roster = Some(next.into()),
                    Err(_) => is_behind = true,
                }
            }),
            Down::Snapshot(roster) => self.view.update(|now| now.roster = Some(roster.into())),
            Down::News(news) => self.view.update(|now| {
                let Some(roster) = now.roster.as_ref().filter(|roster| roster.zone() == news.zone) else {
                    return;
                };
                let mut next = (**roster).clone();
                for (id, load) in news.members {
                    next.set_load(&id, load);
                }
                now.roster = Some(next.into());
            }),
            Down::Gateways(told) => self.view.update(|now| {
                let mut next = (*now.gateways).clone();
                next.take_in(told);
                now.gateways = next.into();
            }),
            Down::Welcome(_) => {}
            Down::Denied(list) => {
                if let Some(trust) = self.transport.trust() {
                    trust.deny(list.clone());
                }
                if let Some(renewal) = &self.renewal {
                    renewal.keep_denied(list);
                }
            }
            Down::RenewalDue => {
                if let Some(renewal) = &self.renewal {
                    renewal.ask();
                }
            }
            Down::Neighbors(neighbors) => self.view.update(|now| now.neighbors = neighbors.into()),
        }
        if is_behind {
            let ask = request(session_request::Message::Snapshot(pb::SnapshotRequest {}));
            // A full queue holds a heartbeat whose ack will show the gap again.
            let _ = up.try_send(ask);
        }
        Ok(is_ack)
    }
}
