-- wrk: the same chat completion again and again. BODY names the file, HEADERS holds `name: value` lines.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method, wrk.body = "POST", file:read("*a")
file:close()
for name, value in string.gmatch(os.getenv("HEADERS"), "([^:\n]+): ([^\n]+)") do wrk.headers[name] = value end
