//! The reason of a request, a denial or a lock.

/// Refuses an empty reason. A reason may begin with a hyphen. If it is forgotten, the next option is in its position, which
/// must not be lost.
pub fn reason(text: &str) -> Result<String, &'static str> {
    let is_one_word = !text.contains(char::is_whitespace);
    let is_option = text.starts_with("--") || text.starts_with('-') && text.len() == 2;
    match is_one_word && is_option {
        true => Err("this is an option: the reason before it is missing"),
        false if text.trim().is_empty() => Err("the reason is empty"),
        false => Ok(text.to_owned()),
    }
}
