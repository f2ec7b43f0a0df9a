use super::*;

fn request(reach: Reach) -> pb::SearchRequest {
    to_search(&OutgoingSearch {
        id: QueryId::from_bytes([1; 16]),
        text: "report",
        ttl: 15,
        hops: 1,
        deadline: Duration::from_secs(2),
        roster_revision: 7,
        claim: None,
        reach,
        want: None,
        origin: PeerId::from_bytes([2; 32]),
        from: PeerId::from_bytes([3; 32]),
    })
}

fn done(zones: Vec<pb::ZoneReport>) -> Result<Found, Invalid> {
    let done = pb::SearchDone { zones, ..pb::SearchDone::default() };
    found(pb::SearchResponse { message: Some(pb::search_response::Message::Done(done)) })
}

fn told(zone_id: u32, listed: u32, answered: u32) -> pb::ZoneReport {
    pb::ZoneReport { zone_id, listed, answered, ..pb::ZoneReport::default() }
}

#[test]
fn how_far_a_query_goes_survives_the_way() {
    let zone = ZoneId::new(9).expect("not 0");
    for reach in [Reach::Inside, Reach::OtherZones, Reach::WholeZone(zone), Reach::AllZones] {
        assert_eq!(search(request(reach)).expect("valid").reach, reach);
    }
}

#[test]
fn a_reach_that_makes_no_sense_is_refused() {
    let whole = request(Reach::WholeZone(ZoneId::FIRST));
    let claim = Some(pb::Claim { before_id: vec![4; 32].into() });
    for (field, bad) in [
        ("reach", pb::SearchRequest { reach: 4, ..whole.clone() }),
        ("zone_id", pb::SearchRequest { zone_id: 0, ..whole.clone() }),
        ("zone_id", pb::SearchRequest { zone_id: 2, ..request(Reach::Inside) }),
        ("zone_id", pb::SearchRequest { zone_id: 2, ..request(Reach::OtherZones) }),
        ("claim", pb::SearchRequest { claim: claim.clone(), ..whole }),
        ("claim", pb::SearchRequest { claim, ..request(Reach::OtherZones) }),
    ] {
        assert_eq!(search(bad).expect_err("refused").field, field);
    }
}

#[test]
fn reports_on_zones_are_bounded_and_sound() {
    assert!(done(vec![told(1, 8, 8), told(2, 0, 0)]).is_ok());
    let most = u32::try_from(MAX_ZONES).expect("fits");
    assert!(done((1..=most).map(|zone| told(zone, 1, 1)).collect()).is_ok());
    for bad in [
        (1..=most + 1).map(|zone| told(zone, 1, 1)).collect(),
        vec![told(0, 1, 1)],
        vec![told(1, 8, 9)],
        vec![pb::ZoneReport { ruled_out: u32::MAX, ..told(1, 8, 1) }],
        vec![told(1, 1 << 20, 1)],
    ] {
        assert!(done(bad).is_err());
    }
}
