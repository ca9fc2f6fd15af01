//! Sets of numbers as ranges: `1:3,5`.

use std::fmt::Write as _;

use securanet_gateway::model::{Uid, account::UidSet};

/// Numbers in the order given; each run of consecutive ones becomes a range.
pub(crate) fn numbers(numbers: impl IntoIterator<Item = u32>) -> String {
    let mut text = String::new();
    let mut run: Option<(u32, u32)> = None;
    for number in numbers {
        match &mut run {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => {
                push(&mut text, run.replace((number, number)));
            }
        }
    }
    push(&mut text, run);
    text
}

/// UIDs in the order given.
pub(crate) fn uids(list: &[Uid]) -> String {
    numbers(list.iter().map(|uid| uid.get()))
}

/// A set of UIDs.
pub(crate) fn uid_ranges(set: &UidSet) -> String {
    let mut text = String::new();
    set.ranges().iter().for_each(|(first, last)| push(&mut text, Some((first.get(), last.get()))));
    text
}

fn push(text: &mut String, run: Option<(u32, u32)>) {
    let Some((first, last)) = run else { return };
    if !text.is_empty() {
        text.push(',');
    }
    // Writing to a String cannot fail.
    let _ = if first == last { write!(text, "{first}") } else { write!(text, "{first}:{last}") };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_become_ranges_and_the_order_stays() {
        assert_eq!(numbers([1, 2, 3, 5, 7, 8]), "1:3,5,7:8");
        assert_eq!(numbers([8, 7, 1, 2]), "8,7,1:2");
        assert_eq!(numbers([]), "");
        assert_eq!(numbers([u32::MAX]), "4294967295");
    }
}
