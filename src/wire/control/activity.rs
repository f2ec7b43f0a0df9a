//! What happens to queries at the peer, to and from the wire.

use prost_types::Timestamp;

use super::super::{Invalid, bytes, common::time, pb, required};
use crate::protocol::{
    action::{Activity, ActivityKind, MAX_ACTIVITY_ASKED, MAX_ACTIVITY_CHARS},
    id::{PeerId, ZoneId},
};

/// One activity.
pub fn activity(activity: Option<pb::Activity>) -> Result<Activity, Invalid> {
    let activity = required("activity", activity)?;
    let query = <[u8; 8]>::try_from(&activity.query[..])
        .map_err(|_| Invalid::new("activity.query", "must be the first 8 bytes of a query's id"))?;
    let kind = ActivityKind::ALL.into_iter().find(|kind| i32::from(to_kind(*kind)) == activity.kind);
    if activity.text.chars().count() > MAX_ACTIVITY_CHARS {
        let problem = format!("must be at most {MAX_ACTIVITY_CHARS} characters");
        return Err(Invalid::new("activity.text", problem));
    }
    if activity.asked_ids.len() > MAX_ACTIVITY_ASKED {
        return Err(Invalid::new("activity.asked_ids", format!("must be at most {MAX_ACTIVITY_ASKED}")));
    }
    let asked = activity.asked_ids.iter().map(|id| PeerId::try_from(&id[..])).collect::<Result<_, _>>();
    let from = Some(&activity.from_id[..]).filter(|id| !id.is_empty()).map(PeerId::try_from);
    Ok(Activity {
        time: time("activity.event_time", required("activity.event_time", activity.event_time)?)?,
        query,
        kind: kind.ok_or_else(|| Invalid::new("activity.kind", "must be `BEGAN` or `ANSWERED`"))?,
        text: activity.text,
        from: from.transpose().map_err(Invalid::id("activity.from_id"))?,
        zone: ZoneId::new(activity.zone_id),
        hops: u8::try_from(activity.hops).map_err(|_| Invalid::new("activity.hops", "must be below 256"))?,
        hits: activity.hits,
        asked: asked.map_err(Invalid::id("activity.asked_ids"))?,
        missed: activity.missed,
    })
}

/// One activity, on its way out.
pub fn to_activity(activity: Activity) -> pb::WatchActivityResponse {
    let activity = pb::Activity {
        event_time: Some(Timestamp::from(activity.time)),
        query: bytes(&activity.query),
        kind: to_kind(activity.kind).into(),
        text: activity.text,
        from_id: activity.from.map(|id| bytes(id.as_bytes())).unwrap_or_default(),
        zone_id: activity.zone.map_or(0, ZoneId::get),
        hops: activity.hops.into(),
        hits: activity.hits,
        asked_ids: activity.asked.iter().map(|id| bytes(id.as_bytes())).collect(),
        missed: activity.missed,
    };
    pb::WatchActivityResponse { activity: Some(activity) }
}

fn to_kind(kind: ActivityKind) -> pb::ActivityKind {
    match kind {
        ActivityKind::Began => pb::ActivityKind::Began,
        ActivityKind::Answered => pb::ActivityKind::Answered,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn sound() -> pb::Activity {
        pb::Activity {
            event_time: Some(Timestamp::default()),
            query: vec![1; 8].into(),
            kind: 1,
            ..Default::default()
        }
    }

    #[test]
    fn an_activity_out_of_bounds_is_refused_by_the_name_of_the_field() {
        let field = |edit: &dyn Fn(&mut pb::Activity)| {
            let mut told = sound();
            edit(&mut told);
            activity(Some(told)).map(drop).map_err(|invalid| invalid.field)
        };
        assert_eq!(field(&|_| ()), Ok(()));
        assert_eq!(activity(None).unwrap_err().field, "activity");
        assert_eq!(field(&|told| told.event_time = None), Err("activity.event_time"));
        assert_eq!(field(&|told| told.query = vec![1; 16].into()), Err("activity.query"));
        assert_eq!(field(&|told| told.kind = 0), Err("activity.kind"));
        assert_eq!(field(&|told| told.kind = 3), Err("activity.kind"));
        assert_eq!(field(&|told| told.text = "é".repeat(256)), Ok(()));
        assert_eq!(field(&|told| told.text = "é".repeat(257)), Err("activity.text"));
        assert_eq!(field(&|told| told.from_id = vec![1; 31].into()), Err("activity.from_id"));
        assert_eq!(field(&|told| told.hops = 256), Err("activity.hops"));
        assert_eq!(field(&|told| told.asked_ids = vec![vec![1; 32].into(); 17]), Err("activity.asked_ids"));
        assert_eq!(field(&|told| told.asked_ids = vec![vec![1; 33].into()]), Err("activity.asked_ids"));
    }
}
