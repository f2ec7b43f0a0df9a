//! What a person does with transfers: pause, resume, cancel, retry, reorder.
//!
//! Invariant: what was answered is on disk, and what is done to all passes over those that it makes no sense for.

use std::time::Duration;

use tokio::sync::watch;

use super::{State, Ticket, Transfers};
use crate::{
    protocol::action::{
        ActionError, Direction, ErrorKind, HintCode, Transfer, TransferControl, TransferState, Which,
    },
    store::jobs::{Job, JobState},
};

/// How long an answer waits for a running download to stop; it stops in any case.
const PAUSE_GRACE: Duration = Duration::from_secs(2);

/// What is left to do after the lock is given back.
#[derive(Default)]
struct After {
    revived: Vec<(Job, Ticket)>,
    pausing: Vec<watch::Receiver<Transfer>>,
}

impl Transfers {
    /// Does it to one or all; how many it changed: one that is as it shall be already does not count. Uploads are never
    /// meant by all: they are others' downloads.
    ///
    /// # Errors
    /// `NotFound` when there was none of that number, or it is forgotten; `Refused` when it makes no sense for that one.
    pub async fn control(&self, which: Which, control: TransferControl) -> Result<u32, ActionError> {
        let mut after = After::default();
        let mut count = 0;
        {
            let mut state = self.lock();
            let ids: Vec<u64> = match which {
                Which::One(id) => vec![id],
                Which::All => state.failed.keys().chain(state.running.keys()).copied().collect(),
            };
            for id in ids {
                match self.apply(&mut state, id, control, &mut after) {
                    Ok(is_changed) => count += u32::from(is_changed),
                    Err(error) if matches!(which, Which::One(_)) => return Err(error),
                    Err(_) => {}
                }
            }
        }
        for (job, ticket) in after.revived {
            self.revive(job, ticket);
        }
        let stopped = async {
            for mut news in after.pausing {
                let is_stopped = |transfer: &Transfer| {
                    transfer.state == TransferState::Paused || transfer.state.is_final()
                };
                let _ = news.wait_for(is_stopped).await;
            }
        };
        let _ = tokio::time::timeout(PAUSE_GRACE, stopped).await;
        self.saved().await;
        Ok(count)
    }

    /// Cancels one without waiting for the disk.
    ///
    /// # Errors
    /// As [`Self::control`].
    pub fn cancel(&self, id: u64) -> Result<(), ActionError> {
        let mut after = After::default();
        self.apply(&mut self.lock(), id, TransferControl::Cancel, &mut after)?;
        for (job, ticket) in after.revived {
            self.revive(job, ticket);
        }
        Ok(())
    }

    fn apply(
        &self,
        state: &mut State,
        id: u64,
        control: TransferControl,
        after: &mut After,
    ) -> Result<bool, ActionError> {
        if state.running.contains_key(&id) {
            return self.apply_to_running(state, id, control, after);
        }
        if state.failed.contains_key(&id) {
            return self.apply_to_failed(state, id, control, after);
        }
        match (state.ended.iter().any(|ended| ended.id == id), control) {
            (false, _) => Err(ActionError::new(ErrorKind::NotFound, format!("there is no transfer {id}"))
                .hint_as(HintCode::ListTransfers, "see `floodplain transfers`")),
            (true, TransferControl::Cancel) => Ok(false),
            (true, _) => Err(refused(format!("transfer {id} has ended"))),
        }
    }

    fn apply_to_running(
        &self,
        state: &mut State,
        id: u64,
        control: TransferControl,
        after: &mut After,
    ) -> Result<bool, ActionError> {
        let Some(running) = state.running.get_mut(&id) else { return Ok(false) };
        if control == TransferControl::Cancel {
            let is_changed = !running.cancel.is_cancelled();
            running.cancel.cancel();
            if running.job.is_some() {
                // Before its task gets to it: a kill right now must not bring it back.
                self.save(id, None);
            }
            return Ok(is_changed);
        }
        if running.news.borrow().direction != Direction::Download {
            let error = refused(format!("transfer {id} is no download of this peer"));
            return Err(error.hint("the one who fetches can pause it; `cancel` ends it"));
        }
        let is_changed = match control {
            TransferControl::Cancel => true,
            TransferControl::Pause => {
                after.pausing.push(running.news.subscribe());
                !running.is_paused.send_replace(true)
            }
            TransferControl::Resume => running.is_paused.send_replace(false),
            TransferControl::Retry => {
                return Err(
                    refused(format!("transfer {id} has not failed")).hint("only failed ones are retried")
                );
            }
            TransferControl::Priority(priority) => {
                let before = running.news.borrow().priority;
                running.news.send_modify(|transfer| transfer.priority = priority);
                before != priority
            }
        };
        if let Some(job) = running.job.as_mut().filter(|_| !running.cancel.is_cancelled()) {
            change(job, control);
            self.save(id, Some(job));
        }
        if let TransferControl::Priority(priority) = control {
            self.requeue(state, id, priority);
        }
        Ok(is_changed)
    }

    fn apply_to_failed(
        &self,
        state: &mut State,
        id: u64,
        control: TransferControl,
        after: &mut After,
    ) -> Result<bool, ActionError> {
        match control {
            TransferControl::Pause | TransferControl::Resume => Err(refused(format!(
                "transfer {id} has failed"
            ))
            .hint_as(HintCode::RetryTransfer, format!("`floodplain transfers retry {id}` starts it again"))),
            TransferControl::Priority(priority) => {
                let Some((transfer, job)) = state.failed.get_mut(&id) else { return Ok(false) };
                let is_changed = job.priority != priority;
                transfer.priority = priority;
                job.priority = priority;
                self.save(id, Some(job));
                Ok(is_changed)
            }
            TransferControl::Retry | TransferControl::Cancel => {
                state.check_room()?;
                let Some((mut transfer, mut job)) = state.failed.remove(&id) else { return Ok(false) };
                job.state = JobState::Queued;
                transfer.sources.clear();
                let is_cancel = control == TransferControl::Cancel;
                self.save(id, (!is_cancel).then_some(&job));
                let ticket = self.insert(state, transfer, Some(job.clone()));
                if is_cancel {
                    // Its task is started to discard what it stored.
                    ticket.cancel_token().cancel();
                }
                after.revived.push((job, ticket));
                Ok(true)
            }
        }
    }
}

fn change(job: &mut Job, control: TransferControl) {
    match control {
        TransferControl::Pause => job.state = JobState::Paused,
        TransferControl::Resume => job.state = JobState::Queued,
        TransferControl::Priority(priority) => job.priority = priority,
        TransferControl::Cancel | TransferControl::Retry => {}
    }
}

fn refused(message: String) -> ActionError {
    ActionError::new(ErrorKind::Refused, message)
}
