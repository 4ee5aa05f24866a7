//! Logical lines: the folding shared by main.cf, master.cf, mapkeep.cf and files of table names.
//!
//! Pure text. Source: postconf(5), and stock 3.7.11 for what the manual leaves open: any C whitespace (also CR,
//! vertical tab and form feed) starts a continuation; comments and blank lines may stand inside a continued line; the
//! newline goes, the leading whitespace of the continuation stays.

/// One logical line: what remains when comments are gone and continuations are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogicalLine {
    /// Number of its first physical line, from 1.
    pub line: u32,
    /// Its bytes, without any newline.
    pub text: Vec<u8>,
}

/// Whitespace as C's isspace() sees it in the C locale.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// `text` without whitespace at both ends.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// `text` without whitespace at its start.
pub(crate) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let Some((first, rest)) = text.split_first() {
        if !is_space(*first) {
            break;
        }
        text = rest;
    }
    text
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let Some((last, rest)) = text.split_last() {
        if !is_space(*last) {
            break;
        }
        text = rest;
    }
    text
}

/// Splits `text` into logical lines. A first line that starts with whitespace comes out as it is: the caller
/// sees it by its first byte and complains.
pub(crate) fn logical_lines(text: &[u8]) -> Vec<LogicalLine> {
    let lines = logical_pieces(text).into_iter();
    lines.map(|(line, pieces)| LogicalLine { line, text: pieces.concat() }).collect()
}

/// The same without copying: for each logical line the number of its first physical line, and the physical lines that it
/// consists of.
pub(crate) fn logical_pieces(text: &[u8]) -> Vec<(u32, Vec<&[u8]>)> {
    let mut lines: Vec<(u32, Vec<&[u8]>)> = Vec::new();
    let mut number: u32 = 0;
    for physical in text.split(|byte| *byte == b'\n') {
        number = number.saturating_add(1);
        let starts_with = trim_start(physical).first().copied();
        if starts_with.is_none() || starts_with == Some(b'#') {
            continue;
        }
        let continues = physical.first().copied().is_some_and(is_space);
        match lines.last_mut() {
            Some((_, pieces)) if continues => pieces.push(physical),
            _ => lines.push((number, vec![physical])),
        }
    }
    lines
}

/// Why a logical line is not `name = value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SplitError {
    /// Nothing stands before the `=`.
    NoName,
    /// There is no `=` after the name.
    NoEquals,
}

/// Splits `name = value`. The name ends at whitespace or `=`; whitespace around both parts goes.
pub(crate) fn split_name_value(text: &[u8]) -> Result<(&[u8], &[u8]), SplitError> {
    let text = trim(text);
    let end = text.iter().position(|byte| *byte == b'=' || is_space(*byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err(SplitError::NoName);
    }
    match trim_start(rest).split_first() {
        Some((b'=', value)) => Ok((name, trim_start(value))),
        _ => Err(SplitError::NoEquals),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(u32, String)> {
        logical_lines(text.as_bytes())
            .into_iter()
            .map(|line| (line.line, String::from_utf8(line.text).unwrap()))
            .collect()
    }

    #[test]
    fn logical_lines_comment_inside_continuation_is_skipped() {
        assert_eq!(
            lines("# head\na = 1\n# c\n  # d\n\n\t2\nb=3"),
            vec![(2, "a = 1\t2".to_string()), (7, "b=3".to_string())]
        );
    }

    #[test]
    fn logical_lines_leading_whitespace_of_continuation_is_kept() {
        assert_eq!(lines("a = {x\n   y}\n"), vec![(1, "a = {x   y}".to_string())]);
    }

    #[test]
    fn logical_lines_vertical_tab_and_form_feed_continue() {
        assert_eq!(lines("a=1\n\x0bb\n\x0cc\n"), vec![(1, "a=1\x0bb\x0cc".to_string())]);
    }

    #[test]
    fn split_name_value_odd_spacing_is_trimmed() {
        let split = |text: &'static str| split_name_value(text.as_bytes());
        assert_eq!(split("a=b"), Ok((&b"a"[..], &b"b"[..])));
        assert_eq!(split(" a \t= b c \r"), Ok((&b"a"[..], &b"b c"[..])));
        assert_eq!(split("a="), Ok((&b"a"[..], &b""[..])));
        assert_eq!(split("a-b!==c"), Ok((&b"a-b!"[..], &b"=c"[..])));
    }

    #[test]
    fn split_name_value_without_name_or_equals_is_refused() {
        assert_eq!(split_name_value(b"=x"), Err(SplitError::NoName));
        assert_eq!(split_name_value(b"a b = c"), Err(SplitError::NoEquals));
        assert_eq!(split_name_value(b"noequals"), Err(SplitError::NoEquals));
        assert_eq!(split_name_value(b""), Err(SplitError::NoName));
    }
}
