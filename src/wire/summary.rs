//! The words of a peer on their way to the members of its zone.

use super::{Invalid, pb, required};
use crate::protocol::summary::{Change, MAX_BYTES, Summary};

/// Largest answer: the longest summary, or a change of as many bytes, and its frame.
pub const MAX_ANSWER_BYTES: usize = MAX_BYTES * 2 + 4096;

/// What a peer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// All of it.
    Whole(Summary),
    /// What became different since the version that was asked from.
    Change(Change),
}

/// Checks an answer; the version with it.
pub fn summary(response: pb::GetSummaryResponse) -> Result<(u64, Told), Invalid> {
    use pb::get_summary_response::Content;
    let told = match required("content", response.content)? {
        Content::Whole(bytes) => Told::Whole(
            Summary::from_bytes(&bytes).map_err(|error| Invalid::new("whole", error.to_string()))?,
        ),
        Content::Change(pb::SummaryChange { places, blocks }) => {
            if places.len() != blocks.len() {
                return Err(Invalid::new("change.blocks", "must be as many as the places"));
            }
            Told::Change(Change { blocks: places.into_iter().zip(blocks).collect() })
        }
    };
    Ok((response.version, told))
}

/// An answer on its way out.
pub fn to_summary(version: u64, told: &Told) -> pb::GetSummaryResponse {
    use pb::get_summary_response::Content;
    let content = match told {
        Told::Whole(summary) => Content::Whole(summary.to_bytes().into()),
        Told::Change(change) => {
            let (places, blocks) = change.blocks.iter().copied().unzip();
            Content::Change(pb::SummaryChange { places, blocks })
        }
    };
    pb::GetSummaryResponse { version, content: Some(content) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_survive_the_way_there_and_back_and_others_are_refused() {
        let whole = Told::Whole(Summary::of(["word", "another"]).unwrap());
        assert_eq!(summary(to_summary(3, &whole)), Ok((3, whole)));
        let change = Told::Change(Change { blocks: vec![(0, 7), (5, u64::MAX)] });
        assert_eq!(summary(to_summary(4, &change)), Ok((4, change)));
        let content = pb::SummaryChange { places: vec![1, 2], blocks: vec![1] };
        let content = Some(pb::get_summary_response::Content::Change(content));
        assert_eq!(
            summary(pb::GetSummaryResponse { version: 1, content }).unwrap_err().field,
            "change.blocks"
        );
        assert_eq!(summary(pb::GetSummaryResponse::default()).unwrap_err().field, "content");
    }
}
