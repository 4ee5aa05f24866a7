//! Passwords: bytes that are wiped when they are no longer needed, and that no message can show.

use zeroize::Zeroizing;

/// A password, or something as good as one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over `bytes`; it does not leave a copy.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place where they are handed over.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_bytes_nor_length() {
        let shown = |bytes: &[u8]| format!("{:?}", Secret::new(bytes.to_vec()));
        assert_eq!(shown(b"hunter2"), shown(b""));
        assert_eq!(Secret::new(b"a".to_vec()).expose(), b"a");
    }
}
