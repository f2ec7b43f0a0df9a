//! The words of a peer on their way to the members of its zone.

use super::{Invalid, pb, required};
use crate::protocol::summary::{Change, Density, MAX_BYTES, SHAPE, Summary};

/// Largest answer: the longest summary, or a change of as many bytes, and its frame.
pub const MAX_ANSWER_BYTES: usize = MAX_BYTES * 2 + 4096;

/// What a peer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// All of it.
    Whole(Summary),
    /// What became different since the version that was asked from.
    Change(Change),
    /// Something of another version of the protocol.
    Unknown,
}

/// Checks an answer; the version with it.
pub fn summary(response: pb::GetSummaryResponse) -> Result<(u64, Told), Invalid> {
    use pb::get_summary_response::Content;
    if response.shape != SHAPE {
        return Ok((response.version, Told::Unknown));
    }
    let told = match required("content", response.content)? {
        Content::Whole(bytes) => Told::Whole(
            Summary::from_bytes(&bytes, response.has_pairs, Density::PEER)
                .map_err(|error| Invalid::new("whole", error.to_string()))?,
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

/// An answer on its way out; a change is told to those who know whether there are pairs.
pub fn to_summary(version: u64, told: &Told) -> pb::GetSummaryResponse {
    use pb::get_summary_response::Content;
    let answer = pb::GetSummaryResponse { version, shape: SHAPE, ..Default::default() };
    match told {
        Told::Whole(summary) => {
            let content = Some(Content::Whole(summary.to_bytes().into()));
            pb::GetSummaryResponse { content, has_pairs: summary.has_pairs(), ..answer }
        }
        Told::Change(change) => {
            let (places, blocks) = change.blocks.iter().copied().unzip();
            let content = Some(Content::Change(pb::SummaryChange { places, blocks }));
            pb::GetSummaryResponse { content, ..answer }
        }
        Told::Unknown => pb::GetSummaryResponse { shape: 0, ..answer },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::summary::KeysOf;

    #[test]
    fn summaries_survive_the_way_there_and_back_and_others_are_refused() {
        let mut keys = KeysOf::default();
        keys.add(["word", "another"]);
        let whole = Summary::of(&keys.finish().unwrap());
        let without = Summary::from_bytes(&whole.to_bytes(), false, Density::PEER).unwrap();
        for told in [Told::Whole(whole), Told::Whole(without)] {
            assert_eq!(summary(to_summary(3, &told)), Ok((3, told)));
        }
        let change = Told::Change(Change { blocks: vec![(0, 7), (5, u64::MAX)] });
        assert_eq!(summary(to_summary(4, &change)), Ok((4, change.clone())));
        let content = pb::SummaryChange { places: vec![1, 2], blocks: vec![1] };
        let content = Some(pb::get_summary_response::Content::Change(content));
        let field = |response| summary(response).unwrap_err().field;
        let answer = pb::GetSummaryResponse { version: 1, shape: SHAPE, ..Default::default() };
        assert_eq!(field(pb::GetSummaryResponse { content, ..answer.clone() }), "change.blocks");
        assert_eq!(field(answer), "content");
        // An older peer tells no shape.
        for shape in [0, SHAPE + 1] {
            let strange = pb::GetSummaryResponse { shape, ..to_summary(4, &change) };
            assert_eq!(summary(strange), Ok((4, Told::Unknown)));
        }
    }
}
