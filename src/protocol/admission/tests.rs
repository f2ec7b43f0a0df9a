use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

fn key(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn id(number: u8) -> PeerId {
    key(number).peer_id()
}

fn token(number: u8) -> Token {
    Token::from_bytes([number; 16])
}

fn name(text: &str) -> PeerName {
    text.parse().expect("a name")
}

fn issued(now: SystemTime) -> Issued {
    Issued { authority: 1, trusted: 2, not_after: now + DAY }
}

/// With invite 1, for so many, good for an hour.
fn with_invite(uses: u32) -> Admissions {
    let mut admissions = Admissions::default();
    admissions.issue(token(1).hash(), HOUR, uses, None, start()).expect("an invite");
    admissions
}

fn enroll(admissions: &mut Admissions, number: u8, as_name: &str) -> Result<(), NotAdmitted> {
    admissions.enroll(&token(1), key(number), &name(as_name), issued(start()), start())
}

fn restored(admissions: &Admissions) -> Option<Admissions> {
    Admissions::restore(
        admissions.grants().copied().collect(),
        admissions.members().iter().cloned().collect(),
        admissions.denied().clone(),
    )
}

#[test]
fn a_token_lets_in_as_many_as_it_says_and_the_same_key_counts_once() {
    let mut admissions = with_invite(2);
    for _ in 0..3 {
        enroll(&mut admissions, 1, "ana").expect("the same key is answered again");
    }
    enroll(&mut admissions, 2, "ben").expect("the second use");
    assert_eq!(enroll(&mut admissions, 3, "cyd"), Err(NotAdmitted::UsedUp));
    assert_eq!(admissions.good_until(&token(1), start()), None);
    enroll(&mut admissions, 1, "ana").expect("also when it is used up");
}

#[test]
fn an_expired_and_an_unknown_token_are_refused_alike() {
    let mut admissions = with_invite(9);
    let late = start() + HOUR;
    let refused = admissions.enroll(&token(1), key(1), &name("ana"), issued(late), late);
    assert_eq!(refused, Err(NotAdmitted::UnknownToken));
    let refused = admissions.enroll(&token(2), key(1), &name("ana"), issued(late), start());
    assert_eq!(refused, Err(NotAdmitted::UnknownToken));
    assert_eq!(admissions.members().iter().count(), 0);
    assert!(admissions.is_known(&token(1), start()) && !admissions.is_known(&token(1), late));
    admissions.expire(late);
    assert_eq!(admissions.grants().count(), 0);
}

#[test]
fn an_invite_is_bounded_and_so_is_their_number() {
    let mut admissions = Admissions::default();
    let second = Duration::from_secs(1);
    for (lifetime, uses) in [
        (MIN_INVITE_LIFETIME.saturating_sub(second), 1),
        (MAX_INVITE_LIFETIME + second, 1),
        (HOUR, 0),
        (HOUR, MAX_INVITE_USES + 1),
    ] {
        let refused = admissions.issue(token(1).hash(), lifetime, uses, None, start());
        assert_eq!(refused, Err(NotAdmitted::BadInvite));
    }
    let hash = |n: usize| TokenHash::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
    for n in 0..MAX_GRANTS {
        admissions.issue(hash(n), HOUR, 1, None, start()).expect("room");
    }
    let more = |admissions: &mut Admissions, now| admissions.issue(hash(MAX_GRANTS), HOUR, 1, None, now);
    assert_eq!(more(&mut admissions, start()), Err(NotAdmitted::InvitesFull));
    more(&mut admissions, start() + HOUR).expect("room again once they have expired");
}

#[test]
fn a_name_is_its_owners_until_that_is_shut_out_and_another_enrolls() {
    let mut admissions = with_invite(9);
    enroll(&mut admissions, 1, "ana").expect("let in");
    enroll(&mut admissions, 2, "ben").expect("let in");
    assert_eq!(enroll(&mut admissions, 3, "ANA"), Err(NotAdmitted::NameTaken(name("ANA"))));
    assert_eq!(admissions.pin_name(&id(2), &name("Ana")), Err(NotAdmitted::NameTaken(name("Ana"))));

    assert_eq!(admissions.revoke(&id(1), start()), Ok(true));
    let taken = Err(NotAdmitted::NameTaken(name("ana")));
    assert_eq!(admissions.pin_name(&id(2), &name("ana")), taken, "a rename is no enrollment");
    enroll(&mut admissions, 3, "ana").expect("a new machine of that name");
    assert_eq!(admissions.members().find("ana").map(NetworkMember::id), Ok(id(3)));
    assert_eq!(restored(&admissions).expect("sound").members().find("ana").map(NetworkMember::id), Ok(id(3)));
}

#[test]
fn a_rename_moves_the_pin() {
    let mut admissions = with_invite(9);
    enroll(&mut admissions, 1, "ana").expect("let in");
    assert_eq!(admissions.pin_name(&id(1), &name("ana")), Ok(false));
    assert_eq!(admissions.pin_name(&id(1), &name("Ana")), Ok(true), "another case of its own name");
    assert_eq!(admissions.pin_name(&id(1), &name("zoe")), Ok(true));
    enroll(&mut admissions, 2, "ana").expect("the former name is free");
    enroll(&mut admissions, 2, "ben").expect("renamed by an enrollment");
    assert_eq!(admissions.pin_name(&id(1), &name("ana")), Ok(true));
    assert_eq!(admissions.pin_name(&id(9), &name("new")), Err(NotAdmitted::UnknownKey));
}

#[test]
fn a_key_that_was_shut_out_never_comes_back() {
    let mut admissions = with_invite(9);
    enroll(&mut admissions, 1, "ana").expect("let in");
    admissions.renew(&id(1), issued(start())).expect("renewed");
    assert_eq!(admissions.revoke(&id(1), start()), Ok(true));
    assert_eq!(admissions.revoke(&id(1), start()), Ok(false), "once");
    assert!(admissions.denied().has(&id(1)));
    assert_eq!(admissions.denied().version, 1);
    assert_eq!(enroll(&mut admissions, 1, "ana"), Err(NotAdmitted::Revoked));
    assert_eq!(enroll(&mut admissions, 1, "other"), Err(NotAdmitted::Revoked));
    assert_eq!(admissions.renew(&id(1), issued(start())), Err(NotAdmitted::Revoked));
    assert_eq!(admissions.pin_name(&id(1), &name("zoe")), Err(NotAdmitted::Revoked));
    assert_eq!(admissions.renew(&id(2), issued(start())), Err(NotAdmitted::UnknownKey));
    assert_eq!(admissions.revoke(&id(2), start()), Err(NotAdmitted::UnknownKey));
}

#[test]
fn the_list_for_peers_names_those_whose_certificates_could_still_be_good() {
    let mut admissions = with_invite(9);
    enroll(&mut admissions, 1, "ana").expect("let in");
    enroll(&mut admissions, 2, "ben").expect("let in");
    enroll(&mut admissions, 3, "cyd").expect("let in");
    admissions.revoke(&id(1), start()).expect("shut out");
    admissions.revoke(&id(2), start() + DAY).expect("shut out");
    assert_eq!(admissions.denied().peers().len(), 2, "a clock may be a day behind");
    admissions.revoke(&id(3), start() + 3 * DAY).expect("shut out");
    assert_eq!(admissions.denied().peers(), [id(3)]);
    assert_eq!(admissions.denied().version, 3);
    assert_eq!(admissions.renew(&id(1), issued(start())), Err(NotAdmitted::Revoked), "still");
}

#[test]
fn who_was_shut_out_stays_on_the_list_while_an_older_certificate_that_lasts_longer_is_good() {
    let until = |days| Issued { authority: 1, trusted: 2, not_after: start() + days * DAY };
    let mut admissions = with_invite(9);
    for (number, as_name) in [(1, "ana"), (2, "ben"), (3, "cyd")] {
        admissions.enroll(&token(1), key(number), &name(as_name), until(30), start()).expect("let in");
    }
    admissions.renew(&id(1), until(1)).expect("renewed");
    admissions.enroll(&token(1), key(2), &name("ben"), until(1), start()).expect("let in again");
    for number in [1, 2] {
        admissions.revoke(&id(number), start()).expect("shut out");
    }
    admissions.revoke(&id(3), start() + 20 * DAY).expect("shut out");
    assert_eq!(admissions.denied().peers().len(), 3);
}

#[test]
fn the_list_is_given_a_later_version_and_never_an_earlier_one() {
    let mut admissions = with_invite(1);
    let before = admissions.generation();
    admissions.lift_denied(7);
    assert_eq!((admissions.denied().version, admissions.generation()), (7, before + 1));
    admissions.lift_denied(6);
    assert_eq!((admissions.denied().version, admissions.generation()), (7, before + 1));
}

#[test]
fn members_are_found_by_name_and_by_the_beginning_of_an_id() {
    let mut admissions = with_invite(9);
    enroll(&mut admissions, 1, "ana").expect("let in");
    enroll(&mut admissions, 2, "beef").expect("let in");
    let found = |text: &str| admissions.members().find(text).map(NetworkMember::id);
    assert_eq!(found("Ana"), Ok(id(1)));
    assert_eq!(found("BEEF"), Ok(id(2)), "a name before an id");
    let digits = id(1).to_string();
    assert_eq!(found(&digits), Ok(id(1)));
    assert_eq!(found(&digits[..4].to_uppercase()), Ok(id(1)));
    assert_eq!(found(&digits[..3]), Err(NotFound::Nobody));
    assert_eq!(found(""), Err(NotFound::Nobody));
    assert_eq!(found(&digits.repeat(2)), Err(NotFound::Nobody));
}

#[test]
fn two_members_whose_ids_begin_alike_are_told_apart() {
    // The first two of the keys 0, 1, 2.. whose ids have the same four digits.
    let mut seen: BTreeMap<String, PublicKey> = BTreeMap::new();
    let key = |n: u32| PublicKey::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
    let (one, other) = (0..)
        .find_map(|n| {
            let digits = key(n).peer_id().to_string()[..4].to_owned();
            seen.insert(digits, key(n)).map(|before| (before, key(n)))
        })
        .expect("some hashes begin alike");
    let mut admissions = with_invite(9);
    for (key, as_name) in [(one, "ana"), (other, "ben")] {
        admissions.enroll(&token(1), key, &name(as_name), issued(start()), start()).expect("let in");
    }
    let digits = one.peer_id().to_string();
    assert_eq!(admissions.members().find(&digits[..4]), Err(NotFound::Several));
    assert_eq!(admissions.members().find(&digits).map(NetworkMember::id), Ok(one.peer_id()));
}

#[test]
fn a_full_book_forgets_those_that_are_long_gone_but_never_who_was_shut_out() {
    let key = |n: usize| PublicKey::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
    let member = |n: usize| NetworkMember {
        key: key(n),
        name: name(&format!("peer-{n}")),
        zone: None,
        enrolled: start(),
        issued: issued(start()),
        is_revoked: n == 0,
        token: token(1).hash(),
    };
    let everyone: Vec<_> = (0..MAX_MEMBERS).map(member).collect();
    let mut admissions = Admissions::restore(Vec::new(), everyone, DenyList::default()).expect("sound");
    let enter = |admissions: &mut Admissions, now| {
        admissions.issue(token(1).hash(), HOUR, 1, None, now).expect("an invite");
        admissions.enroll(&token(1), key(MAX_MEMBERS), &name("late"), issued(now), now)
    };
    assert_eq!(enter(&mut admissions, start() + 180 * DAY), Err(NotAdmitted::MembersFull));
    admissions.renew(&key(1).peer_id(), issued(start() + 180 * DAY)).expect("a member");
    enter(&mut admissions, start() + 182 * DAY).expect("there is room now");
    let left: BTreeSet<_> = admissions.members().iter().map(|member| member.key).collect();
    assert_eq!(left, [key(0), key(1), key(MAX_MEMBERS)].into());
    assert_eq!(admissions.renew(&key(0).peer_id(), issued(start())), Err(NotAdmitted::Revoked));
}

#[test]
fn members_on_an_older_authority_count_until_their_certificates_run_out() {
    let mut admissions = with_invite(9);
    for (number, as_name) in [(1, "ana"), (2, "ben"), (3, "cyd")] {
        enroll(&mut admissions, number, as_name).expect("let in");
    }
    assert_eq!(admissions.members().on_older(1, start()), 0);
    assert_eq!(admissions.members().on_older(2, start()), 3);
    admissions.renew(&id(1), Issued { authority: 2, trusted: 3, not_after: start() + DAY }).expect("renewed");
    admissions.revoke(&id(2), start()).expect("shut out");
    assert_eq!(admissions.members().on_older(2, start()), 1);
    assert_eq!(admissions.members().on_older(2, start() + DAY), 0);
}

#[test]
fn pages_give_everyone_once_in_order_of_names() {
    let mut admissions = with_invite(50);
    for number in 0..30 {
        let as_name = format!("{}-{number}", if number % 2 == 0 { "B" } else { "a" });
        enroll(&mut admissions, number, &as_name).expect("let in");
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let (page, has_more) = admissions.members().page(after.as_ref(), 7);
        listed.extend(page.into_iter().map(place));
        after = listed.last().cloned();
        if !has_more {
            break;
        }
    }
    assert_eq!(listed.len(), 30);
    assert!(listed.is_sorted());
}

proptest! {
    /// Against what the words say: a count of uses per token, one name per key, nobody back who was shut out.
    #[test]
    fn whatever_happens_tokens_names_and_keys_stay_apart(
        steps in prop::collection::vec((0..6u8, 0..3u8, 0..8u8, 0..8u8), 1..120),
        uses in 1u32..5,
    ) {
        let (mut now, mut admissions) = (start(), Admissions::default());
        let mut let_in: BTreeMap<u8, BTreeSet<u8>> = BTreeMap::new();
        let mut out = BTreeSet::new();
        for invite in 0..3 {
            admissions.issue(token(invite).hash(), HOUR, uses, None, now).expect("an invite");
        }
        for (what, invite, who, called) in steps {
            let called = name(&format!("n{called}"));
            match what {
                0..3 => {
                    if admissions.enroll(&token(invite), key(who), &called, issued(now), now).is_ok() {
                        prop_assert!(!out.contains(&who));
                        prop_assert!(now < start() + HOUR);
                        let_in.entry(invite).or_default().insert(who);
                    }
                }
                3 => prop_assert!(admissions.pin_name(&id(who), &called).is_err() || !out.contains(&who)),
                4 => if admissions.revoke(&id(who), now).is_ok() {
                    out.insert(who);
                },
                _ => now += Duration::from_secs(200),
            }
            let held: Vec<_> = admissions.members().iter().filter(|member| !member.is_revoked).collect();
            let names: BTreeSet<_> = held.iter().map(|member| &member.name).collect();
            prop_assert_eq!(names.len(), held.len());
            for member in held {
                prop_assert_eq!(admissions.members().find(member.name.as_str()).map(|found| found.key), Ok(member.key));
            }
        }
        for keys in let_in.values() {
            prop_assert!(keys.len() <= uses as usize, "{let_in:?}");
        }
        let again = restored(&admissions).expect("what was kept is sound");
        prop_assert!(again.members().iter().eq(admissions.members().iter()));
        prop_assert!(again.grants().eq(admissions.grants()));
        prop_assert_eq!(again.denied(), admissions.denied());
    }
}
