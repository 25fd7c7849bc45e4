//! Chunk names as messages show them.

/// The longest shown chunk name, in bytes.
const CHUNK_ID_MAX: usize = 59;

/// What messages call the chunk `name`: the rest of "=name" and "@file" (a file's name shortened from the left), or
/// `[string "first line..."]`.
pub fn chunk_id(name: &[u8]) -> Vec<u8> {
    // Lua prints chunk names as C strings. What is behind the part that is shown does not matter; it may be very long.
    let start = &name[..name.len().min(CHUNK_ID_MAX + 2)];
    let end = start.iter().position(|&c| c == 0).unwrap_or(start.len());
    match name {
        [b'=', ..] => name[1..end.min(CHUNK_ID_MAX + 1)].to_vec(),
        [b'@', ..] if name.len() <= CHUNK_ID_MAX + 1 => name[1..end].to_vec(),
        [b'@', ..] => {
            let tail = &name[name.len() - (CHUNK_ID_MAX - 3)..];
            let end = tail.iter().position(|&c| c == 0).unwrap_or(tail.len());
            [b"...", &tail[..end]].concat()
        }
        _ => {
            const ROOM: usize = CHUNK_ID_MAX - "[string \"...\"]".len();
            let line = &name[..end];
            let newline = line.iter().position(|&c| c == b'\n');
            if newline.is_none() && name.len() < ROOM {
                if end < name.len() {
                    return [b"[string \"", line].concat();
                }
                return [b"[string \"", line, b"\"]"].concat();
            }
            let shown = newline.unwrap_or(name.len()).min(ROOM);
            if end < shown {
                return [b"[string \"", line].concat();
            }
            [b"[string \"", &name[..shown], b"...\"]"].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_ids() {
        let id = |name: &str| String::from_utf8(chunk_id(name.as_bytes())).unwrap();
        assert_eq!(id("=stdin"), "stdin");
        assert_eq!(id("@dir/file.lua"), "dir/file.lua");
        assert_eq!(id("return 1"), "[string \"return 1\"]");
        assert_eq!(id("x = 1\ny = 2"), "[string \"x = 1...\"]");
        assert_eq!(id(""), "[string \"\"]");
        assert_eq!(id("a\0b"), "[string \"a");
        let long: String = ('0'..='9').cycle().take(100).collect();
        assert_eq!(id(&format!("={long}")), long[..59]);
        assert_eq!(id(&format!("@{long}")), format!("...{}", &long[44..]));
        assert_eq!(id(&long), format!("[string \"{}...\"]", &long[..45]));
        assert_eq!(id(&long[..44]), format!("[string \"{}\"]", &long[..44]));
        assert_eq!(id(&long[..45]), format!("[string \"{}...\"]", &long[..45]));
    }
}
