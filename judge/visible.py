"""The only objects of the grader that student code can hold. Nothing here leads to the rest of it."""


class Words:
    """A stdout that keeps the last kilobytes of what is printed to it."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text = (self.text + str(text))[-4000:]
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


def display(*objects, **options):
    """Notebooks have this function, plain Python does not."""


class Names(dict):
    """What names mean; one that means nothing is the same error as in plain Python."""

    def __missing__(self, name):
        raise NameError(f"name {name!r} is not defined")
