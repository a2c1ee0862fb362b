"""`python -m agent`: serve the runtime's queue until SIGTERM or SIGINT."""

import signal

if __name__ == "__main__":
    # Before all else is imported, which takes a second: a signal that the first process of a container neither handles
    # nor blocks is lost. The agent would serve on until it is killed, with a job in its hands.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    from agent.main import run

    run()
