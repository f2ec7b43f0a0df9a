//! How far the clock of this machine is from the registry's, by the `date` that every HTTP answer carries (RFC 9110,
//! section 6.6.1).

use std::time::{Duration, SystemTime};

use tonic::metadata::MetadataMap;

use super::finding::{CLOCK_OFF, Finding};

/// Certificates are good for a day and begin a little in the past; a minute is far from harm and far above what a network takes.
pub(super) const TOLERANCE: Duration = Duration::from_secs(60);

/// A finding when the clocks differ; nothing when the answer has no date.
pub(super) fn compare(answer: &MetadataMap, now: SystemTime, registry: &str) -> Option<Finding> {
    let date = answer.get("date")?.to_str().ok()?;
    judge(httpdate::parse_http_date(date).ok()?, now, registry)
}

fn judge(theirs: SystemTime, ours: SystemTime, registry: &str) -> Option<Finding> {
    let (off, way) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (off > TOLERANCE).then(|| {
        let off = humantime::format_duration(Duration::from_secs(off.as_secs()));
        found(format!("the clock of this machine is {off} {way} that of the registry at {registry}"))
    })
}

/// The clocks differ.
pub(super) fn found(what: String) -> Finding {
    Finding {
        id: CLOCK_OFF,
        what,
        why: "a certificate is taken for not yet, or no longer, good by a clock that is wrong".into(),
        todo: "set the clock, here or there; a time service keeps it right (`timedatectl set-ntp true`)"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_nothing_and_an_hour_is_a_finding() {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let judged = |ours| judge(noon, ours, "hub:7000").map(|finding| finding.what);
        assert_eq!(judged(noon + TOLERANCE), None);
        assert_eq!(judged(noon - TOLERANCE), None);
        let ahead = judged(noon + Duration::from_secs(3600)).expect("found");
        assert_eq!(ahead, "the clock of this machine is 1h ahead of that of the registry at hub:7000");
        assert!(judged(noon - Duration::from_secs(3600)).expect("found").contains("1h behind that"));
    }

    #[test]
    fn only_a_date_is_taken_for_one() {
        let mut answer = MetadataMap::new();
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(compare(&answer, now, "hub"), None);
        for date in ["", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            answer.insert("date", date.parse().expect("a header"));
            assert_eq!(compare(&answer, now, "hub"), None, "{date}");
        }
        answer.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().expect("a header"));
        assert!(compare(&answer, now, "hub").is_some());
    }
}
