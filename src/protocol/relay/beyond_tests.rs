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
