"""The tables. What changes together is one JSON document in one row, so that one version guards it all."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Double, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What Alembic compares the database with."""

    type_annotation_map = {dict[str, Any]: JSON, datetime: DateTime(timezone=True)}  # noqa: RUF012


class DeploymentRow(Base):
    """domain.commands.Deployment."""

    __tablename__ = "deployments"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    document: Mapped[dict[str, Any]]


class RevisionRow(Base):
    """domain.deployment.Revision; never changed."""

    __tablename__ = "revisions"
    deployment: Mapped[str] = mapped_column(String(63), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    document: Mapped[dict[str, Any]]


class VerdictRow(Base):
    """domain.verdict.Verdict; never changed."""

    __tablename__ = "verdicts"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    deployment: Mapped[str] = mapped_column(String(63), index=True)
    document: Mapped[dict[str, Any]]


class EventRow(Base):
    """control.ports.Event; only ever appended, and kept when its deployment is deleted."""

    __tablename__ = "events"
    # An id is never given twice, or who follows a deployment that is deleted and made again misses its events.
    __table_args__ = (Index("ix_events_deployment_id", "deployment", "id"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    deployment: Mapped[str] = mapped_column(String(63))
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(Text)
    who: Mapped[str] = mapped_column(String(100))
    claimed: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]


class LeaseRow(Base):
    """control.ports.Lease: one row, made by the migration."""

    __tablename__ = "lease"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[str] = mapped_column(Text)
    epoch: Mapped[int] = mapped_column(BigInteger)
    beat: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float] = mapped_column(Double)
    at: Mapped[datetime]
