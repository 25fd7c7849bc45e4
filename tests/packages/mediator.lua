local mediator = require "mediator"()
local log = {}
mediator:subscribe({ "car", "drive" }, function(speed) log[#log + 1] = "drive " .. speed end, { priority = 2 })
mediator:subscribe({ "car", "drive" }, function(speed) log[#log + 1] = "first " .. speed return "r", true end, { priority = 1 })
mediator:subscribe({ "car" }, function(...) log[#log + 1] = "any " .. select("#", ...) return nil, true end)
mediator:subscribe({ "car", "drive" }, function(s) log[#log + 1] = "fast" return nil, true end, { predicate = function(s) return s > 100 end })
mediator:publish({ "car", "drive" }, 50) mediator:publish({ "car", "drive" }, 150) mediator:publish({ "car", "stop" })
print(table.concat(log, ", "))
