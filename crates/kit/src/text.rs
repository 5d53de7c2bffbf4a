//! Text that others put a limit on.

/// Cuts to at most so many bytes, between letters.
pub fn cut(text: &mut String, longest: usize) {
    if text.len() > longest {
        text.truncate((0..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn letters_stay_whole() {
        for (longest, left) in [(0, ""), (1, "a"), (2, "a"), (3, "aé"), (9, "aé")] {
            let mut text = "aé".to_owned();
            super::cut(&mut text, longest);
            assert_eq!(text, left, "{longest}");
        }
    }
}
