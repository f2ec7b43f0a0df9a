use super::{tests::*, *};
use crate::protocol::id::ZoneId;

fn zone(number: u32) -> ZoneId {
    ZoneId::new(number).expect("not 0")
}

fn beyond(members: &[u8], reach: Reach) -> Part {
    Part { members: members.iter().map(|number| peer(*number)).collect(), claim: None, reach }
}

/// At a gateway that asks these zones, each through two gateways.
fn crossing(zones: &[(u32, [u8; 2])], now: Instant) -> Plan {
    let part = |(number, members): &(u32, [u8; 2])| beyond(members, Reach::WholeZone(zone(*number)));
    let known = zones.iter().map(|(number, _)| (zone(*number), ZoneReport::default())).collect();
    Plan { waves: vec![zones.iter().map(part).collect()], zones: Some(known), ..plan(&[], now) }
}

/// Two members at home, then gateways of the own zone.
fn home_then_beyond(now: Instant) -> Plan {
    let mut plan = plan(&[&[1], &[2]], now);
    plan.waves.push(vec![beyond(&[1, 2], Reach::OtherZones)]);
    plan
}

fn heard(number: u32, listed: u32, answered: u32) -> Report {
    let told = ZoneReport { listed, answered, ..ZoneReport::default() };
    Report { zones: BTreeMap::from([(zone(number), told)]), ..Report::default() }
}

#[test]
fn a_broken_gateway_is_replaced_by_the_other_of_its_zone() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, crossing(&[(2, [1, 2]), (3, [3, 4])], now), now);
    let asks = asked(&commands);
    assert_eq!(asks.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(1), peer(3)]);
    let other = asked(&relay.on_broken(asks[0].0, now));
    assert_eq!(other[0].1, peer(2));
    relay.on_done(other[0].0, &heard(2, 8, 7), now);
    relay.on_done(asks[1].0, &heard(3, 4, 4), now);
    assert!(relay.is_finished());
    let report = relay.report();
    assert_eq!((report.zones[&zone(2)].answered, report.zones[&zone(3)].answered), (7, 4));
    assert!(
        report.unreachable.is_empty() && report.answered.is_empty(),
        "no peer of another zone is in a set"
    );
    assert!(report.is_crossed && !report.truncated);
}

#[test]
fn a_zone_whose_gateways_are_both_dead_is_told_as_not_heard() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, crossing(&[(2, [1, 2])], now), now);
    let other = asked(&relay.on_broken(asked(&commands)[0].0, now));
    assert!(relay.on_broken(other[0].0, now).is_empty());
    assert!(relay.is_finished());
    let report = relay.report();
    assert_eq!(report.zones, BTreeMap::from([(zone(2), ZoneReport::default())]));
    assert!(report.unreachable.is_empty() && report.is_crossed);
}

#[test]
fn a_gateway_that_reports_nothing_of_its_zone_is_as_good_as_broken() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, crossing(&[(2, [1, 2])], now), now);
    let other = asked(&relay.on_done(asked(&commands)[0].0, &Report::duplicate(), now));
    assert_eq!(other[0].1, peer(2));
    let elsewhere = relay.on_done(other[0].0, &heard(9, 8, 8), now);
    assert!(elsewhere.is_empty() && relay.is_finished());
    assert!(!relay.report().zones[&zone(2)].is_heard());
}

#[test]
fn a_silent_gateway_is_hedged_and_cancelled_when_the_other_reports() {
    let now = Instant::now();
    let plan = Plan { waves: vec![vec![beyond(&[1, 2], Reach::OtherZones)]], ..plan(&[], now) };
    let (mut relay, commands) = Relay::new(peer(0), false, plan, now);
    let first = asked(&commands)[0].0;
    let hedge = asked(&relay.on_tick(now + HEDGE_AFTER));
    assert_eq!(hedge[0].1, peer(2));
    assert_eq!(relay.on_done(hedge[0].0, &heard(2, 8, 8), now), [Command::Cancel(first)]);
    assert!(relay.is_finished());
    let report = relay.report();
    assert!(report.is_crossed && report.unreachable.is_empty() && report.messages == 2);
}

#[test]
fn gateways_of_the_own_zone_that_are_dead_leave_the_other_zones_untold() {
    let now = Instant::now();
    let plan = Plan { waves: vec![vec![beyond(&[1, 2], Reach::OtherZones)]], ..plan(&[], now) };
    let (mut relay, commands) = Relay::new(peer(0), false, plan, now);
    let other = asked(&relay.on_broken(asked(&commands)[0].0, now));
    relay.on_broken(other[0].0, now);
    let report = relay.report();
    assert!(relay.is_finished() && !report.is_crossed);
    assert_eq!(report.unreachable, answered(&[1, 2]).answered);
}

#[test]
fn other_zones_are_asked_when_the_home_zone_has_ended() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), true, home_then_beyond(now), now);
    let home = asked(&commands);
    relay.on_done(home[0].0, &answered(&[1]), now);
    assert!(relay.on_done(home[1].0, &answered(&[2]), now).is_empty(), "the own search is at home too");
    relay.on_searched(false);
    let wake = relay.next_wake().expect("there is more to do");
    assert!(wake <= now, "at once");
    assert_eq!(asked(&relay.on_tick(now))[0].1, peer(1));
}

#[test]
fn what_the_home_zone_has_enough_of_is_not_asked_of_others() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, home_then_beyond(now), now);
    assert!(relay.on_tick(now + WAVE_PATIENCE).is_empty(), "the home zone has longer than a wave");
    assert_eq!(relay.on_enough().len(), asked(&commands).len());
    assert!(relay.is_finished() && !relay.report().is_crossed);
}

#[test]
fn a_slow_home_zone_holds_up_the_others_for_a_part_of_the_time_only() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, home_then_beyond(now), now);
    for (ask, _) in asked(&commands) {
        relay.on_heard(ask);
    }
    let wake = relay.next_wake().expect("it is open");
    assert_eq!(wake, now + WAIT / 4);
    assert_eq!(asked(&relay.on_tick(wake)).len(), 1);
}

/// The members 3, 4 and 5 are left to the gateways 1 and 2; 6 was passed by.
fn handed_over(now: Instant) -> Plan {
    let home = plan(&[&[3, 4], &[5]], now);
    Plan {
        waves: vec![vec![beyond(&[1, 2], Reach::AllZones)]],
        handed_over: home.waves.concat(),
        ruled_out: vec![peer(6).short()],
        ..home
    }
}

#[test]
fn a_gateway_tells_of_the_own_zone_and_whom_it_leaves_out_is_asked() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), true, handed_over(now), now);
    let asks = asked(&commands);
    assert_eq!(asks.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(1)], "at once");
    let told = Report {
        answered: [peer(1).short(), peer(4).short()].into(),
        ruled_out: [peer(3).short(), peer(6).short(), peer(77).short()].into(),
        ..heard(2, 8, 8)
    };
    let left_out = asked(&relay.on_done(asks[0].0, &told, now));
    assert_eq!(left_out.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(5)]);
    relay.on_done(left_out[0].0, &answered(&[5]), now);
    relay.on_searched(false);
    assert!(relay.is_finished());
    let report = relay.report();
    assert_eq!(report.answered, answered(&[0, 1, 4, 5]).answered);
    assert_eq!(report.ruled_out, answered(&[3, 6]).answered, "it has no say on others");
    assert_eq!(report.vouched_for, report.ruled_out);
    assert!(report.is_crossed && report.zones[&zone(2)].answered == 8 && report.messages == 2);
    // One that was cut short did not look again.
    let (mut relay, commands) = Relay::new(peer(0), false, handed_over(now), now);
    relay.on_done(asked(&commands)[0].0, &Report { truncated: true, ..told }, now);
    assert!(relay.report().vouched_for.is_empty());
}

#[test]
fn members_that_were_left_to_gateways_are_asked_when_both_refuse() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, handed_over(now), now);
    let other = asked(&relay.on_broken(asked(&commands)[0].0, now));
    let home = asked(&relay.on_broken(other[0].0, now));
    assert_eq!(home.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(3), peer(5)]);
    relay.on_done(home[0].0, &answered(&[3, 4]), now);
    relay.on_done(home[1].0, &answered(&[5]), now);
    assert!(relay.is_finished());
    let report = relay.report();
    assert_eq!(report.answered, answered(&[3, 4, 5]).answered);
    assert!(report.unreachable.is_empty(), "what refuses as a gateway may have answered as a member");
    assert!(!report.is_crossed && report.vouched_for.is_empty());
}

#[test]
fn members_that_were_left_to_gateways_are_asked_when_both_are_silent() {
    let now = Instant::now();
    let (mut relay, _) = Relay::new(peer(0), false, handed_over(now), now);
    let hedge = now + HEDGE_AFTER;
    assert_eq!(asked(&relay.on_tick(hedge))[0].1, peer(2));
    let home = asked(&relay.on_tick(hedge + HEDGE_AFTER));
    assert_eq!(home.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(3), peer(5)]);
    for (ask, answers) in home.iter().zip([&[3, 4][..], &[5]]) {
        relay.on_done(ask.0, &answered(answers), hedge);
    }
    assert!(!relay.is_finished(), "the gateways may yet answer for the other zones");
    relay.on_tick(hedge + SILENCE_LIMIT);
    assert!(relay.is_finished() && relay.report().answered == answered(&[3, 4, 5]).answered);
}
