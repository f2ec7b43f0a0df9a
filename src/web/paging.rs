//! Lists in pages. A token is the place where the next page begins; a list that changed meanwhile goes on from there.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;
use crate::wire::control::MAX_TOKEN_BYTES;

/// Rows of a page unless told otherwise.
pub(super) const DEFAULT_PAGE_SIZE: u32 = 100;
/// Most rows of a page.
pub(super) const MAX_PAGE_SIZE: u32 = 1000;

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    page_size: Option<u32>,
    /// `next_page_token` of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    page_token: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The rows.
    items: Vec<T>,
    /// Where the next page begins; `null` on the last.
    #[schema(required)]
    next_page_token: Option<String>,
}

/// Begin and length of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) start: usize,
    pub(super) size: usize,
}

/// What the two parameters mean.
pub(super) fn window(page_size: Option<u32>, page_token: Option<&str>) -> Result<Window, Problem> {
    let size = checked_size(page_size)?;
    let start = match page_token {
        None => 0,
        Some(token) if token.len() <= 18 && token.bytes().all(|byte| byte.is_ascii_digit()) => {
            token.parse().map_err(|_| wrong_token())?
        }
        Some(_) => return Err(wrong_token()),
    };
    Ok(Window { start, size })
}

/// How many rows.
pub(super) fn checked_size(page_size: Option<u32>) -> Result<usize, Problem> {
    let size = page_size.unwrap_or(DEFAULT_PAGE_SIZE);
    if !(1..=MAX_PAGE_SIZE).contains(&size) {
        return Err(Problem::usage(format!("page_size must be 1 to {MAX_PAGE_SIZE}, not {size}")));
    }
    Ok(usize::try_from(size).expect("at most 1000"))
}

/// The place where a list goes on that gives its tokens itself.
pub(super) fn checked_token(page_token: Option<String>) -> Result<Option<String>, Problem> {
    if page_token.as_ref().is_some_and(|token| token.len() > MAX_TOKEN_BYTES) {
        return Err(wrong_token());
    }
    Ok(page_token)
}

pub(super) fn wrong_token() -> Problem {
    Problem::usage("page_token is none that this list gave").hint("leave it out to begin anew")
}

impl PageParams {
    /// What they mean.
    pub(super) fn window(&self) -> Result<Window, Problem> {
        window(self.page_size, self.page_token.as_deref())
    }
}

impl<T> Page<T> {
    /// Of a list that gives its tokens itself.
    pub(super) fn new(items: Vec<T>, next_page_token: Option<String>) -> Self {
        Self { items, next_page_token }
    }

    /// The page of a whole list that a window shows.
    pub(super) fn of<'a, R>(rows: &'a [R], window: Window, show: impl Fn(&'a R) -> T) -> Self {
        let end = window.start.saturating_add(window.size).min(rows.len());
        let items = rows.get(window.start..end).unwrap_or_default().iter().map(show).collect();
        Self { items, next_page_token: (end < rows.len()).then(|| end.to_string()) }
    }

    /// The rows, and where the next page begins.
    pub(super) fn into_parts(self) -> (Vec<T>, Option<String>) {
        (self.items, self.next_page_token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let rows: Vec<u32> = (0..25).collect();
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let window = window(Some(10), token.as_deref()).expect("a token that was given");
            let page = Page::of(&rows, window, |row| *row);
            seen.extend(page.items);
            token = page.next_page_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, rows);
        assert!(Page::of(&rows, Window { start: 99, size: 1 }, |row| *row).items.is_empty());
        for (size, token) in
            [(Some(0), None), (Some(1001), None), (None, Some("-1")), (None, Some("9".repeat(19).as_str()))]
        {
            assert!(window(size, token).is_err());
        }
    }
}
