use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn sender(number: u8) -> Sender {
    let id = PeerId::from_bytes([number; 32]);
    Sender { id, name: "ana".parse().expect("valid"), is_confirmed: true }
}

fn inbox(policy: AcceptPolicy) -> (tempfile::TempDir, Inbox) {
    let data = tempfile::tempdir().expect("a folder");
    let inbox = Inbox::open(data.path().join("inbox"), data.path(), policy).expect("opens");
    (data, inbox)
}

/// Runs an offer until it is listed; gives its number.
async fn offer(inbox: &Inbox, number: u8) -> (u64, tokio::task::JoinHandle<Result<(), Refusal>>) {
    let before = inbox.info().offers.len();
    let for_task = inbox.clone();
    let task = tokio::spawn(async move { for_task.admit(sender(number), "f", 1, LONG).await });
    while inbox.info().offers.len() == before {
        tokio::task::yield_now().await;
    }
    (inbox.info().offers.last().expect("listed").id, task)
}

#[tokio::test(start_paused = true)]
async fn the_policy_decides_who_is_asked_for() {
    let (_data, all) = inbox(AcceptPolicy::All);
    assert!(all.admit(sender(1), "f", 1, LONG).await.is_ok());
    let (_data, none) = inbox(AcceptPolicy::None);
    none.trust(sender(1).id).expect("keeps");
    assert!(matches!(none.admit(sender(1), "f", 1, LONG).await, Err(Refusal::Policy(_))));
    let (_data, trusted) = inbox(AcceptPolicy::Trusted);
    trusted.trust(sender(1).id).expect("keeps");
    assert!(trusted.admit(sender(1), "f", 1, LONG).await.is_ok());
    assert!(matches!(trusted.admit(sender(2), "f", 1, LONG).await, Err(Refusal::Policy(_))));
}

#[tokio::test(start_paused = true)]
async fn a_person_takes_or_declines() {
    let (_data, inbox) = inbox(AcceptPolicy::Ask);
    let (first, taken) = offer(&inbox, 1).await;
    let (second, declined) = offer(&inbox, 1).await;
    assert_eq!(inbox.info().offers.len(), 2);
    inbox.answer(first, Answer::Accept).expect("waits");
    inbox.answer(second, Answer::Decline("ä".repeat(400))).expect("waits");
    assert!(taken.await.expect("ends").is_ok());
    let Err(Refusal::Declined(Some(reason))) = declined.await.expect("ends") else { panic!("not declined") };
    assert_eq!(reason.len(), MAX_REASON_BYTES);
    let again = inbox.answer(first, Answer::Accept);
    assert!(matches!(again, Err(AnswerError::NoSuchOffer(NoSuchOffer(id))) if id == first));
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_be_trusted_is_told_of_and_the_file_is_taken() {
    let data = tempfile::tempdir().expect("a folder");
    let id = |number: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        PeerId::from_bytes(bytes)
    };
    let full: Vec<_> = (0..MAX_TRUSTED).map(|number| id(number).to_string()).collect();
    fs::write(data.path().join(TRUSTED_FILE), full.join("\n")).expect("writes");
    let inbox = Inbox::open(data.path().join("inbox"), data.path(), AcceptPolicy::Ask).expect("opens");
    assert!(inbox.trust(id(0)).is_ok(), "trusted already");
    let (first, taken) = offer(&inbox, 255).await;
    let answered = inbox.answer(first, Answer::Trust);
    assert!(matches!(answered, Err(AnswerError::NotTrusted(TrustError::Full(_)))), "{answered:?}");
    assert!(taken.await.expect("ends").is_ok());
    assert!(matches!(inbox.admit(sender(255), "f", 1, Duration::ZERO).await, Err(Refusal::Unanswered)));
}

#[tokio::test(start_paused = true)]
async fn a_trusted_sender_is_never_asked_for_again_even_after_a_restart() {
    let (data, inbox) = inbox(AcceptPolicy::Ask);
    let (id, taken) = offer(&inbox, 1).await;
    inbox.answer(id, Answer::Trust).expect("waits");
    assert!(taken.await.expect("ends").is_ok());
    let again = Inbox::open(data.path().join("inbox"), data.path(), AcceptPolicy::Ask).expect("opens");
    assert!(again.admit(sender(1), "f", 1, Duration::ZERO).await.is_ok());
    again.distrust(sender(1).id).expect("keeps");
    assert!(matches!(again.admit(sender(1), "f", 1, Duration::ZERO).await, Err(Refusal::Unanswered)));
}

#[tokio::test(start_paused = true)]
async fn a_trusted_id_that_nobody_confirms_counts_as_a_strangers() {
    let impostor = || Sender { is_confirmed: false, ..sender(1) };
    let (_data, trusted) = inbox(AcceptPolicy::Trusted);
    trusted.trust(sender(1).id).expect("keeps");
    assert!(matches!(trusted.admit(impostor(), "f", 1, LONG).await, Err(Refusal::Policy(_))));
    let (_data, ask) = inbox(AcceptPolicy::Ask);
    ask.trust(sender(1).id).expect("keeps");
    assert!(matches!(ask.admit(impostor(), "f", 1, Duration::ZERO).await, Err(Refusal::Unanswered)));
}

#[tokio::test(start_paused = true)]
async fn an_offer_waits_no_longer_than_a_minute_and_leaves_with_its_sender() {
    let (_data, inbox) = inbox(AcceptPolicy::Ask);
    let (_, unanswered) = offer(&inbox, 1).await;
    let (_, left) = offer(&inbox, 2).await;
    left.abort();
    assert!(left.await.is_err());
    assert_eq!(inbox.info().offers.len(), 1);
    let began = Instant::now();
    assert!(matches!(unanswered.await.expect("ends"), Err(Refusal::Unanswered)));
    assert!(began.elapsed() <= ANSWER_TIMEOUT + Duration::from_millis(10));
    assert!(inbox.info().offers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn offers_are_bounded_per_sender_and_in_all() {
    let (_data, inbox) = inbox(AcceptPolicy::Ask);
    let mut tasks = Vec::new();
    for number in (0..).take(MAX_OFFERS / MAX_SENDER_OFFERS) {
        for _ in 0..MAX_SENDER_OFFERS {
            tasks.push(offer(&inbox, number).await);
        }
        assert!(matches!(inbox.admit(sender(number), "f", 1, LONG).await, Err(Refusal::Full)));
    }
    assert!(matches!(inbox.admit(sender(99), "f", 1, LONG).await, Err(Refusal::Full)));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anyone_is_asked() {
    let (_data, inbox) = inbox(AcceptPolicy::Ask);
    let refused = inbox.admit(sender(1), "f", u64::MAX, LONG).await;
    assert!(matches!(refused, Err(Refusal::Store(StoreError::NoSpace { .. }))));
}
