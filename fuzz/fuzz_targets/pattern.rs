#![no_main]

#[path = "common.rs"]
mod common;

use libfuzzer_sys::fuzz_target;

const CODE: &str = r#"
local input = ...
local pattern, subject = input:match("^(.-)\0(.*)$")
if not pattern then return "" end
local out = {}
local function add(...)
  for i = 1, select("#", ...) do out[#out + 1] = tostring((select(i, ...))) end
end
add(pcall(string.find, subject, pattern))
add(pcall(string.gsub, subject, pattern, "<%0%1>", 5))
add(pcall(function()
  local n = 0
  for a, b in subject:gmatch(pattern) do
    n = n + 1
    add(a, b)
    if n == 5 then break end
  end
end))
return table.concat(out, "|")
"#;

fuzz_target!(|input: &[u8]| {
    if input.len() <= 48 {
        common::compare(CODE, input);
    }
});
