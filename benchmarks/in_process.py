"""What a request costs in process, as ratios to the same endpoint without sessions.

python -m benchmarks.in_process
"""

import asyncio

from benchmarks.contenders import bare, ours
from benchmarks.rounds import timed


async def main() -> None:
    base, header, cookie = await bare(), await ours(), await ours(carrier="cookie")
    found = await timed(
        {
            "bare": base.theme,
            "header": header.theme,
            "cookie": cookie.theme,
            "bare login": base.login,
            "login": header.login,
            "bare untouched": base.untouched,
            "untouched": header.untouched,
        },
        rounds=200,
    )
    pairs = [("header", "bare"), ("cookie", "bare")]
    pairs += [(each, f"bare {each}") for each in ("login", "untouched")]
    for name, base_name in pairs:
        mine, theirs = found[name], found[base_name]
        print(
            f"{name:10}{mine.median:8.1f} us{theirs.median:8.1f} us bare"
            f"{mine.ratio(theirs):8.3f} x{mine.more(theirs):+9.2f} us"
        )


if __name__ == "__main__":
    asyncio.run(main())
