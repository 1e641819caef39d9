package inline_test

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/api/v1/internal/inline"
)

// TestFound are command lines with code in them. After the bar stands what is found: program and argument.
func TestFound(t *testing.T) {
	for line := range strings.SplitSeq(strings.TrimSpace(`
npx | npx
/bin/npx -y | npx
/bin/npx -y -- | npx
node -r ./x.js | node
/bin/npx --package=foo | npx
/bin/npx --yes --package foo | npx
/bin/npx -p foo -p bar | npx
npm exec | npm
/bin/npm x -y | npm
/bin/npm exec --package foo -- | npm
timeout 5 npx -y | npx
find . -name x -exec sh -c code ; | sh -c
find . -ok sh ; | sh
find . -name x -exec node server.js ; -execdir python3 -c code + | python -c
tclsh | tclsh
/bin/tclsh8.6 -encoding utf-8 | tclsh
expect -c code | expect -c
toolcrib call echo --arg a=b -- sh -c code | sh -c
toolcrib run --listen :0 -- env bash -c code | bash -c
toolcrib run sh -c code | sh -c
watch -n 1 code | watch
gdb -batch -ex code | gdb -ex
gdb --eval-command=code | gdb --eval-command
vim -c code | vim -c
vi --cmd code | vim --cmd
ex +code | vim +code
/bin/ex | vim
sed e | sed
/bin/sed -n -e code | sed -e
npx -c whoami | npx -c
npx -yc whoami | npx -yc
npx --call whoami | npx --call
npx --call=whoami | npx --call
npx --cal whoami | npx --cal
npx -p node -c whoami | npx -c
npx -y node -e code | node -e
npx -y bash -c code | bash -c
npx --package=x -- sh -c code | sh -c
npm exec -c whoami | npm -c
npm exec pkg -c whoami | npm -c
npm x --call=whoami | npm --call
npm exec -- bash -c code | bash -c
npm --script-shell=/tmp/x exec pkg | npm --script-shell
pnpm dlx -c whoami | pnpm -c
bunx bash -c code | bash -c
node -e code | node -e
node -p code | node -p
node -pe code | node -pe
node --eval code | node --eval
node --eval=code | node --eval
node --print code | node --print
node --input-type=module | node --input-type
node --no-warnings -e code | node -e
node --import ./x.js -e code | node -e
node -r data:text/javascript,code server.js | node data:text/javascript,code
node --import=data:text/javascript,code server.js | node --import
node --entry-url data:text/javascript,code | node data:text/javascript,code
/usr/bin/node -e code | node -e
/opt/node20/bin/node20 -e code | node -e
nodejs -e code | node -e
node | node
python -c code | python -c
node - | node
python3 -c code | python -c
python3.11 -c code | python -c
/usr/bin/python3.11 -Ic code | python -Ic
python -W ignore -c code | python -c
python -X dev -uc code | python -uc
python -ccode | python -ccode
python -m timeit code | python -m timeit
python -mtimeit code | python -m timeit
python - | python
pypy3 -c code | python -c
sh -c code | sh -c
/bin/sh -c code | sh -c
bash -ec code | bash -ec
bash -lc code | bash -lc
bash -o pipefail -c code | bash -c
bash --norc -c code | bash -c
bash -s | bash -s
bash | bash
zsh -ic code | zsh -ic
dash -c code | dash -c
fish --command=code | fish --command
fish -C code | fish -C
bash-5.2 -c code | bash -c
perl -e code | perl -e
perl -we code | perl -we
perl -Mstrict -E code | perl -E
perl -MPOSIX;system(q(id)) x.pl | perl -MPOSIX;system(q(id))
ruby -e code | ruby -e
ruby -ne code | ruby -ne
php -r code | php -r
php --run code | php --run
php -d auto_prepend_file=php://input x.php | php auto_prepend_file
php8.2 -r code | php -r
deno eval code | deno eval
deno run data:text/javascript,code | deno data:text/javascript,code
bun -e code | bun -e
bun exec code | bun exec
lua5.4 -e code | lua -e
osascript -e code | osascript -e
pwsh -Command code | pwsh -Command
pwsh -c code | pwsh -c
pwsh -NoProfile -EncodedCommand abc | pwsh -EncodedCommand
powershell.exe -enc abc | pwsh -enc
cmd /c whoami | cmd /c
cmd.exe /d /C whoami | cmd /C
awk BEGIN{system("id")} | awk
env -S sh\ -c\ id | env -S
env -vS x | env -vS
env --split-string=x | env --split-string
env --split x | env --split
env A=b sh -c code | sh -c
env -i -u X /bin/bash -c code | bash -c
env nice -n 5 timeout -k 1 10 sudo -u nobody python3 -c code | python -c
nice -n 5 sh -c code | sh -c
nice sh -c code | sh -c
timeout 5 sh -c code | sh -c
timeout --foreground 5 sh -c code | sh -c
sudo -u root bash -c code | bash -c
sudo -s code | sudo -s
su -c code | su -c
su nobody -c code | su -c
su nobody --command=code | su --command
flock /tmp/x -c code | flock -c
busybox sh -c code | sh -c
busybox-1.36 ash -c code | ash -c
/lib64/ld-linux-x86-64.so.2 /bin/sh -c code | sh -c
nohup setsid sh -c code | sh -c
uvx --with x python -c code | python -c
uvx python@3.12 -c code | python -c
uvx --from pkg python -c code | python -c
uv run python -c code | python -c
uv run --with requests -- python -c code | python -c
uv tool run bash -c code | bash -c
uv run - | uv -
docker run -i --rm image sh -c code | sh -c
docker run --foo image sh -c code | sh -c
docker run -i --rm --entrypoint sh image -c code | sh -c
docker run --entrypoint=/bin/bash -v /:/h image -c code | bash -c
docker exec -i box python3 -c code | python -c
git clone --upload-pack=touch host:x | git --upload-pack
git clone --upload-pa touch host:x | git --upload-pa
git -c core.sshCommand=x fetch | git -c
ssh -oProxyCommand=x host | ssh -oProxyCommand
ssh -o proxycommand=x host | ssh proxycommand
ssh -o PermitLocalCommand=yes host | ssh PermitLocalCommand
rsync -e x a b | rsync -e
xargs sh -c code | sh -c
SH -c code | sh -c
sh +e -c code | sh -c
bash +x +o posix -c code | bash -c
env - bash -c code | bash -c
python3 - x | python
node - x | node
perl /dev/stdin | perl
python3 /dev/stdin x | python
node /dev/../dev/fd/0 | node
bash /proc/self/fd/0 | bash
python3 -i server.py | python -i
python3.13t -c code | python -c
python3-dbg -c code | python -c
perl5.36-x86_64-linux-gnu -e code | perl -e
bash-static -c code | bash -c
python -m asyncio | python -m asyncio
python -m idlelib.idle -c code | python -m idlelib.idle
perl -d server.pl | perl -d
perl -d:Peek;code server.pl | perl -d:Peek;code
node --import=DA\tTA:text/javascript,code server.js | node --import
node --import=\ data:text/javascript,code server.js | node --import
`), "\n") {
		command, want, _ := strings.Cut(line, " | ")
		got, ok := find(command)
		said := got.Program
		if got.Argument != "" {
			said += " " + got.Argument
		}
		if !ok || said != want {
			t.Errorf("%s: found %q, want %q", command, said, want)
		}
		if other, ok := find(command, got.Program); ok && other.Program == got.Program {
			t.Errorf("%s: found although %s is allowed", command, got.Program)
		}
	}
}

// TestNotFound are the commands that servers are started with every day, and what looks like code but is an argument of theirs.
func TestNotFound(t *testing.T) {
	for command := range strings.SplitSeq(strings.TrimSpace(`
npx -y @modelcontextprotocol/server-everything
npx -y @modelcontextprotocol/server-filesystem /data -c x
npx --yes mcp-remote https://example.com --header a:b
npx -y @playwright/mcp --executable-path /usr/bin/chromium --headless
npm exec -y @scope/server -- -c config.json
npm run start
npx --version
npx server
npx --some-flag server
npm exec server
npm x -- server
find . -name x -exec node server.js ;
tclsh server.tcl -c code
toolcrib run --listen 127.0.0.1:0 -- node server.js -e
toolcrib call echo -- python3 server.py -c
sed -f server.sed
node server.js
node server.js -e production -p 8080
node --no-warnings server.js -p 8080
node --import ./instrument.js server.js -e x
node --env-file=.env dist/index.js -e
node --max-old-space-size=4096 server.mjs --eval
node --version
python server.py -c config.toml
python -u server.py -c config.toml
python3 -m mcp_server_git --repository /src -c
python3 -W ignore -m server -c
/usr/bin/python3.11 -Iu /srv/main.py
python3 -X dev main.py -c
sh server.sh -c
bash -e ./start.sh -c
bash -o pipefail start.sh
bash +x start.sh -c
sh - start.sh -c
python3-config --libs -c x
node-red -e x
uvx mcp-server-fetch -c
uvx --from git+https://github.com/x/y server
uvx mcp-server-git==1.2.3 --repository /src
uv run server.py
uv run --directory /src server -c
uv --directory /src run server.py
uv run --with mcp fastmcp run server.py
go run example.com/server@v1.2.3 -c x
docker run -i --rm -e GITHUB_TOKEN ghcr.io/github/github-mcp-server
docker run -i --rm -v /src:/src mcp/git -c x
docker run -i --rm --mount type=bind,src=/a,dst=/a mcp/filesystem /a
perl server.pl -e
perl -MList::Util=first server.pl -e
perl -w server.pl
ruby -W0 server.rb -e
php -f server.php
php artisan mcp:serve
php -d memory_limit=1G artisan -r
deno run -A npm:@scope/server
deno run --allow-net server.ts eval
bun run server.ts -e
bun server.ts
java -jar server.jar -e
env A=b node server.js
env -u X PATH=/bin python3 server.py
timeout 60 node server.js -e
nice -n 10 ./server -c conf
sudo -u mcp /opt/server -c conf
ssh host mcp-server --config x
pwsh -File server.ps1 -Command x
pwsh -NoProfile -File server.ps1
awk -f server.awk -e
/opt/server -c code
mcp-server --eval
busybox
`), "\n") {
		if got, ok := find(command); ok {
			t.Errorf("%s: found %q %q", command, got.Program, got.Argument)
		}
	}
}

func find(line string, allowed ...string) (inline.Finding, bool) {
	words := strings.Split(strings.NewReplacer(`\ `, "\x00", `\t`, "\t").Replace(line), " ")
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "\x00", " ")
	}
	return inline.Find(words[0], words[1:], allowed)
}

// TestVariable are variables whose values are code, and the program that runs it; empty for none.
func TestVariable(t *testing.T) {
	for text, want := range map[string]string{
		"npm_config_call=id":                         "npx",
		"NPM_CONFIG_SCRIPT-SHELL=/tmp/x":             "npx",
		"npm_config_node_options=--import data:,x":   "node",
		"NODE_OPTIONS=--import DATA:text/x,code":     "node",
		"NODE_OPTIONS=--import da\tta:text/x,code":   "node",
		"NODE_OPTIONS=--max-old-space-size=4096":     "",
		"BUN_OPTIONS=--silent --eval=code":           "bun",
		"BASH_FUNC_ls%%=() { id; }":                  "bash",
		"BASH_ENV=$(id)":                             "bash",
		"BASH_ENV=/etc/profile":                      "",
		"PS4=`id`":                                   "bash",
		"PYTHONINSPECT=1":                            "python",
		"PYTHONINSPECT=":                             "",
		"PERL5OPT=-Mstrict;system(q(id))":            "perl",
		"PERL5OPT=-MList::Util=first,sum -w":         "",
		"LUA_INIT_5_4=os.execute('id')":              "lua",
		"LUA_INIT=@/etc/init.lua":                    "",
		"ERL_AFLAGS=-eval halt().":                   "elixir",
		"MAKEFLAGS=--eval=x:;id":                     "make",
		"MAKEFLAGS=-j4":                              "",
		"TOKEN=data:$(id)":                           "",
		"GIT_SSH_COMMAND=ssh -i /run/secrets/deploy": "",
	} {
		name, value, _ := strings.Cut(text, "=")
		if got, ok := inline.Variable(name, value); got != want || ok != (want != "") {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("npx", "-y\nsh\n-c\ncode")
	f.Add("env", "-i\nA=b\ndocker\nrun\n--entrypoint\nsh\nimage\n-c")
	f.Fuzz(func(t *testing.T, command, args string) {
		list := strings.Split(args, "\n")
		found, ok := inline.Find(command, list, nil)
		if ok && found.Index >= len(list) {
			t.Fatalf("index %d of %d arguments", found.Index, len(list))
		}
	})
}
