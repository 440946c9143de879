"""manage.py find QUERY: the posts nearest in meaning, and those like the first of them."""

from typing import Any

from django.core.management.base import BaseCommand

from blog.models import Post


class Command(BaseCommand):
    """Find posts."""

    def add_arguments(self, parser: Any) -> None:
        """Take the query."""
        parser.add_argument("query")

    def handle(self, *args: object, query: str, **options: object) -> None:
        """Print them."""
        posts = list(Post.objects.search(query)[:2])
        for post in posts:
            self.stdout.write(f"{post.score:.2f} {post.title}")
        for post in Post.objects.similar_to(posts[0])[:1]:
            self.stdout.write(f"like the first: {post.title}")
