"""How the page looks beyond its library's own style: one column as high as the window, which scrolls in its middle."""

STYLE = """
:root { --line: rgba(120, 120, 130, .28); --soft: rgba(120, 120, 130, .12) }
body { overflow: hidden }
.nicegui-content { padding: 0; width: 100% }
.chat { height: 100dvh; width: 100%; display: flex; flex-direction: column; flex-wrap: nowrap; gap: 0 }
.chat-bar { width: 100%; padding: .4rem 1rem; gap: .25rem; flex-wrap: nowrap; border-bottom: 1px solid var(--line) }
.chat-title { flex: 1; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-weight: 600 }
.chat-title { margin: 0; font-size: 1rem; line-height: 1.5rem }
/* reversed, so that the browser itself keeps the end in view while an answer grows, and lets go when one scrolls up */
.chat-log { flex: 1; min-height: 0; width: 100%; overflow-y: auto; display: flex; flex-direction: column-reverse }
.chat-turns { width: 100%; max-width: 50rem; margin: 0 auto; padding: 1rem; gap: 1.25rem; flex-wrap: nowrap }
.chat-turns { margin-bottom: auto }
.compared .chat-turns, .compared .chat-foot { max-width: 76rem }
.chat-turn { width: 100%; gap: .75rem }
.chat-turn:not(:last-child) .last-only { display: none }
.chat-question { align-self: flex-end; max-width: 85%; gap: .25rem; flex-wrap: nowrap; align-items: center }
.chat-said { padding: .5rem .9rem; border-radius: 1.1rem; background: var(--soft) }
.chat-said, .chat-problem { white-space: pre-wrap; overflow-wrap: anywhere }
.chat-sides { width: 100%; display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem }
.compared .chat-answer { border: 1px solid var(--line); border-radius: .75rem; padding: .75rem 1rem }
@media (min-width: 760px) { .compared .chat-sides { grid-template-columns: repeat(2, minmax(0, 1fr)) } }
.chat-answer { width: 100%; gap: .35rem; min-width: 0 }
.chat-side { font-size: .8rem; font-weight: 600; opacity: .8 }
.chat-text { width: 100%; overflow-wrap: anywhere; line-height: 1.55 }
.chat-text > :first-child { margin-top: 0 } .chat-text > :last-child { margin-bottom: 0 }
.chat-text p { margin: 0 0 .6rem }
.chat-text ul { list-style: disc; padding-left: 1.5rem } .chat-text ol { list-style: decimal; padding-left: 1.5rem }
.chat-text pre { overflow-x: auto; padding: .6rem .8rem; border-radius: .5rem; background: var(--soft) }
.chat-text table { display: block; overflow-x: auto } .chat-text td, .chat-text th { padding: .2rem .6rem }
.chat-text.writing > :last-child::after { content: "\\25CD"; margin-left: .15rem; opacity: .6 }
.chat-made { font-size: .75rem; opacity: .75; overflow-wrap: anywhere }
.chat-problem { padding: .5rem .8rem; border-left: 3px solid #c77700; background: var(--soft); border-radius: .25rem }
.chat-actions { gap: .1rem; align-items: center }
.chat-foot { width: 100%; max-width: 50rem; margin: 0 auto; padding: .5rem 1rem .6rem; gap: .25rem }
.chat-write { width: 100%; flex-wrap: nowrap; align-items: flex-end; gap: .5rem }
.chat-foot textarea { max-height: 30dvh }
.chat-hint { font-size: .75rem; opacity: .75; min-height: 1.1rem }
.q-dialog__inner:has(.chat-settings) { padding: 0 }
.q-dialog__inner > .chat-settings { width: 22rem; max-width: 100vw; max-height: 100dvh; border-radius: 0 }
.chat-settings { gap: .75rem; overflow-y: auto }
.chat-empty { width: 100%; text-align: center; padding: 15dvh 1rem 0; opacity: .8 }
/* the library hides the focus with an important rule, which only an important one in an earlier layer overrules */
@layer theme { :focus-visible { outline: 2px solid var(--q-primary) !important; outline-offset: 2px } }
@layer theme { .q-field :focus-visible { outline: none !important } }
@media (pointer: coarse) { .chat-actions .q-btn, .chat-bar .q-btn { min-width: 2.5rem; min-height: 2.5rem } }
@media (max-width: 500px) { .keys { display: none } .chat-question { max-width: 95% } }
"""
