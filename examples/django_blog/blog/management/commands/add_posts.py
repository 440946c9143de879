"""manage.py add_posts: a few posts to search."""

from django.core.management.base import BaseCommand

from blog.models import Post

POSTS = {
    "Changing your credentials": "Open Settings, choose Security and pick a new passphrase.",
    "Shipping times": "Orders leave our warehouse within two days and arrive within a week.",
    "Refunds": "Send the item back within 30 days and we return the money to your card.",
    "Two-factor sign-in": "Add a second step at login: a code from your phone.",
}


class Command(BaseCommand):
    """Add posts."""

    def handle(self, *args: object, **options: object) -> None:
        """Add them, and wait until a worker has embedded them."""
        Post.objects.bulk_create(Post(title=title, body=body) for title, body in POSTS.items())
        Post.objects.wait_until_synced()
        self.stdout.write(f"{Post.objects.count()} posts")
