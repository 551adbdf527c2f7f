//! How a sentence ends.

/// Whether a text ends as a sentence does, closing marks aside.
pub(super) fn ends_as_sentence(item: &str) -> bool {
    let is_behind = |last: char| {
        last.is_whitespace()
            || last.is_control()
            || matches!(last, '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '』' | '」' | '）' | '】' | '》' | '〉' | '“')
    };
    item.trim_end_matches(is_behind).ends_with(ENDS)
}

/// What ends a sentence in the scripts that have such a mark.
const ENDS: [char; 21] =
    ['.', '!', '?', ':', '…', '。', '！', '？', '：', '．', '｡', '।', '॥', '؟', '۔', '։', '።', '။', '។', '།', '᠃'];
