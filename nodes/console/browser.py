"""What runs in the browser that shows the console, beside what NiceGUI brings."""

import json

OVER = "the session is over, nothing was done: sign in again."
UNHEARD = "the console has not answered. Look at the state and at the ledger before you ask again."
PATIENCE_S = 20.0  # for an answer to an action

# Whatever comes of a request, there is an answer to show; one that is none must not look like a yes.
_SEND = """return await (async (path, body, patience, over, unheard) => {
  try {
    const answer = await fetch(path, {method: 'POST', headers: {'Content-Type': 'application/json'}, body,
                                      signal: AbortSignal.timeout(patience)});
    const told = await answer.json().catch(() => null);
    if (typeof told?.ok === 'boolean') return told;
    if (answer.status === 401) return {ok: false, words: over};
    if (answer.status < 500) return {ok: false, words: `not done: the console refuses this (${answer.status})`};
    return {ok: false, words: `it has failed (${answer.status}): look at the state and at the ledger`};
  } catch (error) {
    return {ok: false, words: `not done, as far as is known: ${unheard} (${error.message})`};
  }
})"""

HEARD = "window.heard = performance.now()"
# A page that hears nothing for five seconds must not look as if it were of now; one whose session is over signs in.
LIVE = """<script>
window.heard = performance.now();
setInterval(async () => {
  const lost = performance.now() - window.heard > 5000;
  document.body.classList.toggle('lost', lost);
  if (!lost) return;
  const answer = await fetch('/', {redirect: 'manual', signal: AbortSignal.timeout(3000)}).catch(() => null);
  if (answer?.ok || answer?.type === 'opaqueredirect') location.reload();
}, 1000);
</script>"""
LOST = """
body.lost .nicegui-content{opacity:.25}
body.lost::before{content:"Not of now: the console does not answer";position:fixed;top:45%;left:0;right:0;z-index:9999;
text-align:center;font-size:26px;font-weight:600;color:light-dark(#b34700,#f0a874)}
"""


def send(path: str, wish: object) -> str:
    """Return the script that asks for an action and returns {ok, words}."""
    given = (path, json.dumps(wish), round(1000 * PATIENCE_S), OVER, UNHEARD)
    return f"{_SEND}({', '.join(map(json.dumps, given))})"
