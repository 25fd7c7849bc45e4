#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

const CODE: &str = r#"
local input = ...
local format, s = input:match("^(.-)\0(.*)$")
format, s = format or input, s or ""
local out = {}
local function add(...)
  for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end
end
add(pcall(string.packsize, format))
add(pcall(string.pack, format, 1, 2, 3, 4))
add(pcall(string.pack, format, s, s, s))
add(pcall(string.unpack, format, s))
return table.concat(out, "|")
"#;

fuzz_target!(|input: &[u8]| {
    if input.len() <= 64 {
        common::compare(CODE, input);
    }
});
