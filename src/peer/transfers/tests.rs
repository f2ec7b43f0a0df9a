#![allow(clippy::unwrap_used, reason = "a test may panic")]

use futures::StreamExt;

use super::*;
use crate::protocol::action::{MAX_NOTE_CHARS, NoteCode, TransferControl, Which};

fn begin(table: &Transfers) -> Ticket {
    table.begin(Direction::Download, "f", 10, vec!["ana".into()]).expect("room")
}

fn job(name: &str, priority: Priority) -> Job {
    Job {
        id: 0,
        what: JobTarget::Hash(crate::protocol::id::ContentHash::from_bytes([1; 32])),
        name: Some(name.into()),
        destination: "/srv".into(),
        is_folder: true,
        is_tree: false,
        stage_inode: None,
        size_bytes: None,
        done_bytes: 0,
        priority,
        state: JobState::Queued,
    }
}

fn failure() -> TransferState {
    TransferState::Failed(ActionError::new(ErrorKind::Unreachable, "nobody is there").hint("wait"))
}

async fn go(ticket: &Ticket) -> DownloadSlot {
    match ticket.turn().await {
        Turn::Go(slot) => slot,
        Turn::Cancel => panic!("is cancelled"),
    }
}

#[tokio::test(start_paused = true)]
async fn events_tell_progress_and_end_with_the_final_state() {
    let table = Transfers::new(1);
    let ticket = begin(&table);
    let mut events = ticket.events();
    assert_eq!(events.next().await.expect("first").expect("ok").state, TransferState::Waiting);
    ticket.enter(TransferState::Running);
    ticket.count(4);
    ticket.count(6);
    let news = events.next().await.expect("second").expect("ok");
    assert_eq!((news.state, news.done_bytes), (TransferState::Running, 10));
    ticket.finish(TransferState::Done);
    assert_eq!(events.next().await.expect("third").expect("ok").state, TransferState::Done);
    assert!(events.next().await.is_none());
    assert_eq!((table.bytes_down(), table.bytes_up()), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_events_cancel_and_a_dropped_ticket_ends() {
    let table = Transfers::new(1);
    let ticket = begin(&table);
    drop(ticket.detached_events());
    assert!(!ticket.cancel_token().is_cancelled());
    drop(ticket.events());
    ticket.cancelled().await;
    drop(ticket);
    assert_eq!(table.list()[0].state, TransferState::Cancelled);
    assert_eq!(table.control(Which::One(1), TransferControl::Cancel).await, Ok(0), "ended already");
    let unknown = table.control(Which::One(2), TransferControl::Cancel).await;
    assert_eq!(unknown.expect_err("unknown").kind, ErrorKind::NotFound);
    assert_eq!(table.control(Which::All, TransferControl::Cancel).await, Ok(0));
}

#[test]
fn the_table_is_bounded() {
    let table = Transfers::new(1);
    let running: Vec<Ticket> = (0..MAX_RUNNING).map(|_| begin(&table)).collect();
    let refused = table.begin(Direction::Send, "f", 0, vec![]);
    assert_eq!(refused.expect_err("full").kind, ErrorKind::Refused);
    drop(running);
    assert_eq!(table.list().len(), MAX_ENDED);
    drop(table.begin(Direction::Upload, "f", 0, vec![]).expect("room"));
    assert!(table.list().iter().all(|transfer| transfer.direction == Direction::Download));
}

#[test]
fn the_oldest_failed_download_makes_room() {
    let table = Transfers::new(1);
    for _ in 0..=MAX_DOWNLOADS {
        table.begin_download(job("f", Priority::Normal)).expect("room").finish(failure());
    }
    assert_eq!(table.lock().failed.len(), MAX_DOWNLOADS);
    assert_eq!(table.lock().failed.keys().next(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn slots_go_by_priority_then_age_and_everyone_knows_its_place() {
    let table = Transfers::new(1);
    let first = begin(&table);
    let slot = go(&first).await;
    let places = || table.list().iter().map(|transfer| transfer.queue_position).collect::<Vec<Option<u32>>>();
    let waiting: Vec<Ticket> = [Priority::Low, Priority::Normal, Priority::High]
        .map(|priority| table.begin_download(job("f", priority)).unwrap())
        .into();
    let [low, normal, high] = &waiting[..] else { unreachable!() };
    let mut order = Vec::new();
    {
        let mut low = Box::pin(low.turn());
        let mut normal = Box::pin(normal.turn());
        let mut high = Box::pin(high.turn());
        assert!(futures::poll!(&mut low).is_pending());
        assert!(futures::poll!(&mut normal).is_pending());
        assert!(futures::poll!(&mut high).is_pending());
        assert_eq!(places(), [None, Some(3), Some(2), Some(1)]);
        assert_eq!(table.control(Which::One(2), TransferControl::Priority(Priority::High)).await, Ok(1));
        assert_eq!(places(), [None, Some(1), Some(3), Some(2)]);
        // Paused, it keeps nobody waiting.
        table.lock().running.get_mut(&4).unwrap().is_paused.send_replace(true);
        assert!(futures::poll!(&mut high).is_pending());
        assert_eq!(places(), [None, Some(1), Some(2), None]);
        drop(slot);
        for at in 0..2 {
            tokio::select! {
                turn = &mut low, if at == 0 => { order.push(2); drop(turn); }
                turn = &mut normal, if at == 1 => { order.push(3); drop(turn); }
                else => panic!("nobody has the slot"),
            }
        }
    }
    assert_eq!(order, [2, 3]);
    assert_eq!(table.lock().queue.order_len(), 0);
    drop(go(&begin(&table)).await);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_nobody_takes_goes_to_the_next() {
    let table = Transfers::new(1);
    let (a, b, c) = (begin(&table), begin(&table), begin(&table));
    let slot = go(&a).await;
    let mut gone = Box::pin(b.turn());
    assert!(futures::poll!(&mut gone).is_pending());
    let mut third = Box::pin(c.turn());
    assert!(futures::poll!(&mut third).is_pending());
    drop(slot);
    // Granted to `b`, whose task is dropped before it looks.
    drop(gone);
    assert!(matches!(third.await, Turn::Go(_)));
}

#[tokio::test(start_paused = true)]
async fn a_pause_interrupts_and_a_resume_gives_the_old_place_back() {
    let table = Transfers::new(1);
    let ticket = table.begin_download(job("f", Priority::Normal)).unwrap();
    let slot = go(&ticket).await;
    ticket.enter(TransferState::Running);
    let paused = tokio::spawn({
        let table = table.clone();
        async move { table.control(Which::All, TransferControl::Pause).await }
    });
    assert_eq!(ticket.interrupted().await, Interrupt::Pause);
    drop(slot);
    let mut turn = Box::pin(ticket.turn());
    assert!(futures::poll!(&mut turn).is_pending());
    assert_eq!(paused.await.unwrap(), Ok(1));
    assert_eq!(table.control(Which::All, TransferControl::Pause).await, Ok(0), "it is paused");
    assert_eq!(table.list()[0].state, TransferState::Paused);
    let younger = table.begin_download(job("g", Priority::Normal)).unwrap();
    let slot = go(&younger).await;
    assert_eq!(table.control(Which::One(1), TransferControl::Resume).await, Ok(1));
    assert!(futures::poll!(&mut turn).is_pending(), "the slot is taken");
    drop(slot);
    assert!(matches!(turn.await, Turn::Go(_)));
    assert_eq!(table.control(Which::One(1), TransferControl::Resume).await, Ok(0), "it is not paused");
    assert_eq!(table.control(Which::One(1), TransferControl::Cancel).await, Ok(1));
    assert_eq!(table.control(Which::One(1), TransferControl::Cancel).await, Ok(0), "it ends already");
    assert_eq!(ticket.interrupted().await, Interrupt::Cancel);
    assert!(matches!(ticket.turn().await, Turn::Cancel));
}

#[tokio::test]
async fn only_what_makes_sense_is_done() {
    let table = Transfers::new(1);
    let send = table.begin(Direction::Send, "f", 0, vec![]).unwrap();
    let upload = table.begin(Direction::Upload, "f", 0, vec![]).unwrap();
    for control in [TransferControl::Pause, TransferControl::Resume, TransferControl::Retry] {
        let refused = table.control(Which::One(1), control).await;
        assert_eq!(refused.expect_err("no download").kind, ErrorKind::Refused);
        assert_eq!(table.control(Which::All, control).await, Ok(0));
    }
    let done = table.begin_download(job("f", Priority::Normal)).unwrap();
    done.finish(TransferState::Done);
    assert_eq!(
        table.control(Which::One(3), TransferControl::Retry).await.expect_err("is done").kind,
        ErrorKind::Refused
    );
    drop((send, upload));
}

#[tokio::test]
async fn what_was_running_paused_or_failed_survives_and_the_rest_is_forgotten() {
    let data = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let (table, _revived) = Transfers::open(1, data.path(), &shutdown).unwrap();
    let make = |name: &str| table.begin_download(job(name, Priority::Normal)).unwrap();
    let (running, paused, failed, done, cancelled) =
        (make("running"), make("paused"), make("failed"), make("done"), make("cancelled"));
    let slot = go(&running).await;
    running.enter(TransferState::Running);
    let turn = {
        let paused = async { paused.turn().await };
        let mut paused = Box::pin(paused);
        let control = table.control(Which::One(2), TransferControl::Pause);
        tokio::select! {
            _ = &mut paused => panic!("is paused"),
            outcome = control => outcome,
        }
    };
    assert_eq!(turn, Ok(1));
    failed.finish(failure());
    done.finish(TransferState::Done);
    table.control(Which::One(5), TransferControl::Cancel).await.unwrap();
    drop(cancelled);
    table.begin(Direction::Send, "f", 0, vec![]).unwrap().finish(TransferState::Done);
    let mut watched = running.events();
    watched.next().await.unwrap().unwrap();
    shutdown.stop();
    // A stop drops the tasks and the events; neither is a cancel.
    drop(watched);
    assert!(!running.cancel_token().is_cancelled());
    drop((slot, running, paused));
    assert!(shutdown.drain(std::time::Duration::from_secs(5)).await);

    let shutdown = Shutdown::new();
    let (table, mut revived) = Transfers::open(1, data.path(), &shutdown).unwrap();
    let states: Vec<_> =
        table.list().into_iter().map(|transfer| (transfer.id, transfer.name, transfer.state)).collect();
    assert_eq!(
        states,
        [
            (1, "running".into(), TransferState::Waiting),
            (2, "paused".into(), TransferState::Paused),
            (3, "failed".into(), failure()),
        ]
    );
    let tickets = [revived.recv().await.unwrap().1, revived.recv().await.unwrap().1];
    assert_eq!(tickets.each_ref().map(Ticket::id), [1, 2]);
    assert_eq!(table.begin(Direction::Send, "f", 0, vec![]).unwrap().id(), 7, "numbers go on rising");

    assert_eq!(table.control(Which::All, TransferControl::Retry).await, Ok(1));
    let (again, ticket) = revived.recv().await.unwrap();
    assert_eq!((again.state, ticket.id()), (JobState::Queued, 3));
    assert_eq!(ticket.transfer().state, TransferState::Waiting);
    ticket.finish(failure());
    assert_eq!(table.control(Which::One(3), TransferControl::Cancel).await, Ok(1));
    let (_, ticket) = revived.recv().await.unwrap();
    assert!(matches!(ticket.turn().await, Turn::Cancel), "its task is told to discard what there is");
    ticket.finish(TransferState::Cancelled);
    table.saved().await;
    let (_, kept, last_id) = Jobs::open(data.path()).unwrap();
    assert_eq!((kept.iter().map(|job| job.id).collect::<Vec<_>>(), last_id), (vec![1, 2], 7));
    shutdown.stop();
    drop(tickets);
    assert!(shutdown.drain(std::time::Duration::from_secs(5)).await);
}

#[tokio::test(start_paused = true)]
async fn a_speed_is_told_while_it_runs_and_falls_without_bytes() {
    let table = Transfers::new(1);
    let ticket = begin(&table);
    ticket.update(|transfer| transfer.size_bytes = 1_000_000);
    ticket.enter(TransferState::Running);
    for _ in 0..20 {
        ticket.count(10_000);
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
    }
    let now = &table.list()[0];
    assert!((90_000..=110_000).contains(&now.bytes_per_second), "{}", now.bytes_per_second);
    assert_eq!(now.percent(), Some(20));
    assert!((7..=9).contains(&now.eta().unwrap().as_secs()), "{:?}", now.eta());
    let mut events = ticket.events();
    events.next().await.unwrap().unwrap();
    for _ in 0..6 {
        events.next().await.expect("told without bytes").unwrap();
    }
    assert_eq!(table.list()[0].bytes_per_second, 0);
    ticket.enter(TransferState::Paused);
    assert_eq!(table.list()[0].eta(), None);
}

#[tokio::test]
async fn a_note_lasts_until_the_state_says_something_new() {
    let table = Transfers::new(1);
    let ticket = begin(&table);
    let note = || {
        let transfer = table.list().remove(0);
        assert_eq!(transfer.note.is_empty(), transfer.note_code.is_none(), "each has the other");
        transfer.note
    };
    ticket.note(NoteCode::QueuedAtHolder, "place 2 in ana's queue");
    assert_eq!(note(), "place 2 in ana's queue");
    ticket.enter(TransferState::Waiting);
    assert_eq!(note(), "", "it waits for something else now");
    ticket.enter(TransferState::Running);
    ticket.note(NoteCode::AsksAgain, "é".repeat(MAX_NOTE_CHARS + 1));
    assert_eq!(note(), "é".repeat(MAX_NOTE_CHARS));
    ticket.enter(TransferState::Running);
    assert_ne!(note(), "", "one more stream does not make it untrue");
    ticket.unsay();
    assert_eq!(note(), "");
    ticket.note(NoteCode::AsksAgain, "in a while");
    ticket.finish(failure());
    assert_eq!(note(), "");
}

#[tokio::test]
async fn a_start_that_fails_leaves_the_kept_downloads_as_they_were() {
    let data = tempfile::tempdir().unwrap();
    let (jobs, ..) = Jobs::open(data.path()).unwrap();
    let kept = [(1, JobState::Queued), (2, JobState::Paused)].map(|(id, state)| Job {
        id,
        state,
        ..job("film", Priority::Normal)
    });
    for job in &kept {
        jobs.keep(job).unwrap();
    }
    let shutdown = Shutdown::new();
    let (table, revived) = Transfers::open(1, data.path(), &shutdown).unwrap();
    // As when the index cannot be opened: nobody has told the stop.
    drop(revived);
    table.saved().await;
    assert_eq!(Jobs::open(data.path()).unwrap().1, kept);
    assert!(shutdown.drain(std::time::Duration::from_secs(5)).await);
    assert_eq!(Jobs::open(data.path()).unwrap().1, kept);
}

#[tokio::test(start_paused = true)]
async fn what_runs_aside_is_neither_listed_nor_paused_nor_queued_and_its_bytes_count() {
    let table = Transfers::new(1);
    let aside = table.aside(2);
    let own = begin(&table);
    let _slot = go(&own).await;
    let ticket = begin(&aside);
    let _aside_slot = go(&ticket).await;
    assert_eq!((table.list().len(), aside.list().len()), (1, 1));
    assert_eq!(table.control(Which::All, TransferControl::Cancel).await, Ok(1));
    assert!(own.cancel_token().is_cancelled() && !ticket.cancel_token().is_cancelled());
    ticket.count(5);
    assert_eq!((table.bytes_down(), aside.bytes_down()), (5, 5));
}
